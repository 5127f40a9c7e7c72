"""A GRU by hand reads a sequence, another one writes with Bahdanau's attention."""

import tensorflow.compat.v1 as tf

BATCH, LENGTH, SIZE, STEPS = 3, 5, 6, 3


def gru(x, h, scope):
    with tf.variable_scope(scope + "/gru_cell", reuse=tf.AUTO_REUSE):
        normal = tf.random_normal_initializer(stddev=0.4)
        kernel = tf.get_variable("kernel", [int(x.shape[-1]), 3 * SIZE], initializer=normal)
        recurrent = tf.get_variable("recurrent_kernel", [SIZE, 3 * SIZE], initializer=normal)
        gates = tf.sigmoid(tf.matmul(x, kernel[:, : 2 * SIZE]) + tf.matmul(h, recurrent[:, : 2 * SIZE]))
        z, r = tf.split(gates, 2, axis=1)
        new = tf.tanh(tf.matmul(x, kernel[:, 2 * SIZE :]) + tf.matmul(r * h, recurrent[:, 2 * SIZE :]))
        return z * h + (1 - z) * new


def forward(inputs, training):
    """Translate x (3, 5, 4) with shown (3, 5) into y (3, 3, 7)."""
    with tf.variable_scope("net"):
        h, states = tf.zeros([BATCH, SIZE]), []
        for step in range(LENGTH):
            with tf.name_scope("read"):
                new = gru(inputs["x"][:, step], h, "encoder")
                kept = inputs["shown"][:, step : step + 1]
                h = kept * new + (1 - kept) * h
                states.append(h)
        memory = tf.stack(states, axis=1)
        keys = tf.layers.dense(memory, SIZE, use_bias=False, name="memory_layer")
        answers, word = [], tf.zeros([BATCH, 7])
        for _ in range(STEPS):
            with tf.variable_scope("attention", reuse=tf.AUTO_REUSE):
                query = tf.layers.dense(h, SIZE, use_bias=False, name="query_layer")
                v = tf.get_variable("v", [SIZE], initializer=tf.random_normal_initializer(stddev=0.4))
                score = tf.reduce_sum(v * tf.tanh(keys + tf.expand_dims(query, 1)), 2)
                score = tf.where(inputs["shown"] > 0, score, tf.fill([BATCH, LENGTH], -1e9))
                weights = tf.nn.softmax(score)
                context = tf.reduce_sum(tf.expand_dims(weights, 2) * memory, 1)
            h = gru(tf.concat([word, context], 1), h, "decoder")
            with tf.variable_scope("project", reuse=tf.AUTO_REUSE):
                word = tf.layers.dense(h, 7, name="words")
            answers.append(word)
        return {"words": tf.stack(answers, axis=1), "last": h}
