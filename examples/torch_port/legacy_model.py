import tensorflow.compat.v1 as tf


def forward(inputs, training):
    x = inputs["image"]  # (batch, height, width, channels)
    with tf.variable_scope("net"):
        for number, filters in enumerate([8, 16], 1):
            with tf.variable_scope(f"block{number}"):
                x = tf.layers.conv2d(x, filters, 3, padding="same", use_bias=False, name="conv")
                x = tf.layers.batch_normalization(x, momentum=0.99, epsilon=1e-3, training=training, name="bn")
                x = tf.layers.max_pooling2d(tf.nn.relu(x), 2, 2)
        x = tf.layers.flatten(x)
        x = tf.layers.dense(x, 32, activation=tf.nn.relu, name="hidden")
        x = tf.layers.dropout(x, 0.4, training=training)
        return {"logits": tf.layers.dense(x, 10, name="logits")}
