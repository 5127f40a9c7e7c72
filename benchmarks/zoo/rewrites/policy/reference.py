"""A policy with an LSTM by hand, as OpenAI's baselines have it; its state is forgotten where a game ends."""

import tensorflow.compat.v1 as tf

ENVIRONMENTS, STEPS, SIZE = 3, 4, 6


def forward(inputs, training):
    """Act on observations (3, 4, 5) with done (3, 4) and a state (3, 12)."""
    with tf.variable_scope("net"):
        net = tf.layers.dense(inputs["x"], 7, tf.tanh, name="encode")
        steps = [tf.squeeze(v, [1]) for v in tf.split(net, STEPS, axis=1)]
        dones = [tf.squeeze(v, [1]) for v in tf.split(tf.reshape(inputs["done"], [-1, STEPS, 1]), STEPS, axis=1)]
        with tf.variable_scope("lstm"):
            normal = tf.random_normal_initializer(stddev=0.3)
            wx = tf.get_variable("wx", [7, 4 * SIZE], initializer=normal)
            wh = tf.get_variable("wh", [SIZE, 4 * SIZE], initializer=normal)
            b = tf.get_variable("b", [4 * SIZE], initializer=tf.zeros_initializer())
            c, h = tf.split(inputs["state"], 2, axis=1)
            states = []
            for x, done in zip(steps, dones):
                c = c * (1 - done)
                h = h * (1 - done)
                z = tf.matmul(x, wx) + tf.matmul(h, wh) + b
                i, f, o, u = tf.split(z, 4, axis=1)
                i, f, o, u = tf.sigmoid(i), tf.sigmoid(f + 1.0), tf.sigmoid(o), tf.tanh(u)
                c = f * c + i * u
                h = o * tf.tanh(c)
                states.append(h)
        net = tf.stack(states, axis=1)
        logits = tf.layers.dense(net, 3, name="pi")
        value = tf.layers.dense(net, 1, name="vf")[:, :, 0]
        with tf.name_scope("entropy"):
            a = logits - tf.reduce_max(logits, -1, keepdims=True)
            e = tf.exp(a)
            z = tf.reduce_sum(e, -1, keepdims=True)
            entropy = tf.reduce_sum(e / z * (tf.log(z) - a), -1)
        return {"logits": logits, "value": value, "state": tf.concat([c, h], 1), "entropy": entropy}
