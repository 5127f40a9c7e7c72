"""A perceptron of scopes and `get_variable`, `tf.layers`, dropout and regularizers."""

import tensorflow.compat.v1 as tf

MEAN, DEVIATION = 0.1, 1.2


def weight_decay(weights):
    """Return the loss of a regularized variable."""
    return 0.01 * tf.nn.l2_loss(weights)


def forward(inputs, training):
    """Classify rows of features (batch, 12) into five classes."""
    with tf.variable_scope("net"):
        net = (inputs["features"] - MEAN) / DEVIATION
        net = tf.clip_by_value(net, -1.5, 1.5)
        with tf.variable_scope("first"):
            weights = tf.get_variable("weights", [12, 16], regularizer=weight_decay)
            biases = tf.get_variable("biases", [16], initializer=tf.zeros_initializer())
            net = tf.nn.relu(tf.matmul(net, weights) + biases)
        if training:
            net = tf.nn.dropout(net, keep_prob=0.8)
        net = tf.layers.dense(net, 16, use_bias=False, kernel_regularizer=weight_decay, name="second")
        net = tf.layers.batch_normalization(net, momentum=0.9, epsilon=1e-3, training=training, name="norm")
        net = tf.nn.elu(net, name="elu")
        dropped = tf.layers.dropout(net, 0.3, training=training, name="drop")
        gate = tf.layers.dense(net, 16, tf.sigmoid, name="gate")
        net = tf.multiply(dropped, gate, name="gated")
        logits = tf.layers.dense(net, 5, kernel_initializer=tf.truncated_normal_initializer(stddev=0.1), name="logits")
        temperature = tf.get_variable("temperature", [], initializer=tf.constant_initializer(2.0))
        logits = tf.divide(logits, temperature, name="tempered")
        return {"logits": logits, "probabilities": tf.nn.softmax(logits, name="probabilities")}
