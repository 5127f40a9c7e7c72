"""Two graph convolutions (Kipf and Welling) and an attention over neighbours (Velickovic)."""

import tensorflow.compat.v1 as tf

NODES = 6


def forward(inputs, training):
    """Classify nodes, x (6, 5), by their graph, adjacency (6, 6)."""
    with tf.variable_scope("net"):
        with tf.name_scope("normalize"):
            adjacency = inputs["adjacency"] + tf.eye(NODES)
            degree = tf.reduce_sum(adjacency, 1)
            root = tf.pow(degree, -0.5)
            shared = adjacency * tf.expand_dims(root, 1) * tf.expand_dims(root, 0)
        x = inputs["x"]
        for layer in range(2):
            x = tf.layers.dense(x, 8, use_bias=False, name="project_%d" % layer)
            with tf.variable_scope("spread_%d" % layer):
                bias = tf.get_variable("bias", [8], initializer=tf.zeros_initializer())
                x = tf.nn.elu(tf.matmul(shared, x) + bias)
        with tf.variable_scope("attention"):
            left = tf.layers.dense(x, 1, name="left")
            right = tf.layers.dense(x, 1, name="right")
            scores = tf.nn.leaky_relu(left + tf.transpose(right), 0.2, name="leaky")
            weights = tf.nn.softmax(scores + -1e9 * (1.0 - tf.sign(adjacency)), name="weights")
            x = tf.matmul(weights, x, name="mixed")
        return {"classes": tf.layers.dense(x, 3, name="classes")}
