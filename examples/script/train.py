"""The original: a training script as TF1 code had it, with placeholders and a Session."""

import numpy as np
import tensorflow.compat.v1 as tf

flags = tf.app.flags
flags.DEFINE_integer("hidden", 12, "units of the hidden layer")
flags.DEFINE_float("learning_rate", 0.02, "the learning rate")
FLAGS = flags.FLAGS


def network(x, keep_prob):
    """Two dense layers with dropout between them."""
    with tf.variable_scope("hidden"):
        w = tf.get_variable("w", [5, FLAGS.hidden])
        b = tf.get_variable("b", [FLAGS.hidden], initializer=tf.zeros_initializer())
        hidden = tf.nn.dropout(tf.nn.relu(tf.matmul(x, w) + b), keep_prob=keep_prob)
    with tf.variable_scope("out"):
        w = tf.get_variable("w", [FLAGS.hidden, 3])
        return tf.matmul(hidden, w, name="logits")


def main(_):
    tf.reset_default_graph()
    x = tf.placeholder(tf.float32, [None, 5], name="x")
    y = tf.placeholder(tf.int32, [None], name="y")
    keep_prob = tf.placeholder(tf.float32, name="keep_prob")
    logits = network(x, keep_prob)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits), name="loss")
    with tf.name_scope("train"):
        step = tf.train.GradientDescentOptimizer(FLAGS.learning_rate).minimize(loss, name="step")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        rows, classes = np.random.randn(1000, 5), np.random.randint(0, 3, 1000)
        for start in range(0, 1000, 50):
            batch = {x: rows[start : start + 50], y: classes[start : start + 50], keep_prob: 0.5}
            print(session.run([loss, step], batch)[0])


if __name__ == "__main__":
    tf.app.run()
