"""Names settle themselves: pairs are found, proved by running, and never found so that they hide a mistake."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import lockstep
from lockstep.check import settling

v1 = tf.compat.v1
X = {"x": np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 4, 8) ** 3}


def check(reference, candidate, inputs=X, **options):
    options = {"gradients": False, "also_generic": False, **options}
    return lockstep.verify(lockstep.tf1_graph(reference), lockstep.keras(candidate), inputs, **options)


def step(report, name="variables-match"):
    return next(step for step in report.steps if step.name == name)


def rules(report):
    return step(report).figures["proposed_rules"]


def model(make, name="new"):
    """Returns `build()` of a model whose layers `make` makes, and which calls what that returns."""

    class Model(keras.Model):
        def __init__(self):
            super().__init__(name=name)
            self.run = make(self)

        def call(self, inputs):
            return self.run(inputs["x"])

    return Model


def dense(x, name, units=8):
    return v1.layers.dense(x, units, name=name)


def layer(name, units=8, **options):
    return keras.layers.Dense(units, name=name, **options)


def attention(names):
    def forward(inputs, training):
        x = inputs["x"]
        with v1.variable_scope("self"):
            q, k, v = (v1.layers.dense(x, 8, name=name) for name in names)
            c = tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True)), v)
        return v1.layers.dense(c, 8, name="output")

    return forward


def rewritten_attention(names, exchanged=False):
    def make(self):
        self.parts = [layer(name) for name in names]
        self.projection = layer("projection")

        def run(x):
            q, k, v = (part(x) for part in self.parts)
            q, k = (k, q) if exchanged else (q, k)
            weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))))
            return self.projection(ops.matmul(weights, v))

        return run

    return model(make)


WORDS = ("query", "key", "value")


def test_pairs_are_found_used_and_told_in_a_right_rewrite():
    report = check(attention(WORDS), rewritten_attention(WORDS))
    assert report.verdict == "equivalent"
    assert "8 pairs by 2 proposed rules, confirmed by running" in step(report).summary
    assert rules(report) == {"rename": [["^self/", "new/"], ["^output/", "new/projection/"]]}


def test_the_printed_rules_pasted_give_the_same_verdict_without_a_proposal():
    pasted = [tuple(rule) for rule in rules(check(attention(WORDS), rewritten_attention(WORDS)))["rename"]]
    report = check(attention(WORDS), rewritten_attention(WORDS), rename=pasted)
    assert report.verdict == "equivalent"
    assert "proposal" not in step(report).figures


def test_equal_words_are_never_paired_otherwise_so_an_exchange_is_a_mistake():
    report = check(attention(WORDS), rewritten_attention(WORDS, exchanged=True))
    assert report.verdict == "diverged"
    assert step(report).verdict == "undecided"
    assert "not confirmed by running" in step(report).summary
    assert ["^self/", "new/"] in rules(report)["rename"]
    assert report.culprits


def test_similar_words_that_running_contradicts_are_a_question_with_both_answers():
    report = check(attention(WORDS), rewritten_attention(("q_proj", "k_proj", "v_proj"), exchanged=True))
    assert report.verdict == "undecided"
    assert step(report).figures["proposal"] == "question"
    names, values = (answer["rules"]["rename"] for answer in step(report).figures["proposed_answers"])
    assert ["^self/query/", "new/q_proj/"] in names
    assert ["^self/query/", "new/k_proj/"] in values
    assert not report.culprits
    assert step(report, "inference-fixed").verdict == "not asked for"


def test_each_answer_of_a_question_pasted_is_judged():
    candidate = rewritten_attention(("q_proj", "k_proj", "v_proj"), exchanged=True)
    answers = step(check(attention(WORDS), candidate)).figures["proposed_answers"]
    verdicts = [
        check(attention(WORDS), candidate, rename=[tuple(rule) for rule in answer["rules"]["rename"]]).verdict
        for answer in answers
    ]
    assert verdicts == ["diverged", "equivalent"]


def test_similar_words_are_confirmed_where_the_rewrite_is_right():
    report = check(attention(WORDS), rewritten_attention(("q_proj", "k_proj", "v_proj")))
    assert report.verdict == "equivalent"
    assert "confirmed by running" in step(report).summary


def two_layers(first, second):
    def forward(inputs, training):
        return dense(tf.nn.elu(dense(inputs["x"], first)), second)

    return forward


def two_new_layers(made, called):
    def make(self):
        self.parts = {name: layer(name) for name in made}
        return lambda x: self.parts[called[1]](ops.elu(self.parts[called[0]](x)))

    return model(make)


def test_names_that_say_nothing_are_paired_in_the_order_of_reading_where_values_prove_it():
    report = check(two_layers("one", "two"), two_new_layers(("out", "hidden"), ("hidden", "out")))
    assert report.verdict == "equivalent"
    assert dict(map(tuple, rules(report)["rename"])) == {"^one/": "new/hidden/", "^two/": "new/out/"}


def test_numbers_are_names_blocks_in_the_wrong_order_are_not_called_otherwise():
    report = check(two_layers("layer_0", "layer_1"), two_new_layers(("block_0", "block_1"), ("block_1", "block_0")))
    assert report.verdict == "undecided"
    assert step(report).figures["proposal"] == "question"


def test_whole_names_that_are_equal_are_left_alone_by_proposals():
    def make(self):
        self.a, self.b = layer("a"), layer("b")
        return lambda x: self.a(ops.elu(self.b(x)))

    report = check(two_layers("new/a", "new/b"), model(make))
    assert report.verdict == "diverged"
    assert "proposal" not in step(report).figures


def test_a_mistake_elsewhere_is_found_with_the_names_settled():
    def make(self):
        self.parts = [layer(name) for name in ("one", "two")]
        return lambda x: self.parts[1](ops.elu(self.parts[0](x)) * 1.01)

    report = check(two_layers("one", "two"), model(make))
    assert report.verdict == "diverged"
    assert step(report).verdict == "undecided"
    assert len(report.culprits) == 1
    assert "1.01" in report.culprits[0].cause


def test_a_forgotten_transpose_of_a_square_kernel_is_no_transform():
    def make(self):
        self.layer = layer("projection", use_bias=False)
        self.layer.build((None, 8))
        return lambda x: ops.matmul(x, ops.transpose(self.layer.kernel))

    def forward(inputs, training):
        return v1.layers.dense(inputs["x"], 8, use_bias=False, name="out")

    report = check(forward, model(make))
    assert report.verdict == "diverged"
    assert "transform" not in rules(report)


def test_a_kernel_that_is_kept_transposed_gets_a_transform():
    class Kept(keras.layers.Layer):
        def build(self, shape):
            self.weight = self.add_weight(name="weight", shape=(3, shape[-1]))

        def call(self, x):
            return ops.matmul(x, ops.transpose(self.weight))

    def make(self):
        self.layer = Kept(name="layer")
        return self.layer

    report = check(lambda inputs, training: v1.layers.dense(inputs["x"], 3, use_bias=False, name="out"), model(make))
    assert report.verdict == "equivalent"
    assert rules(report)["transform"] == [["/weight$", "transpose(1,0)"]]


def test_scale_and_offset_that_are_exchanged_are_never_paired_across_their_roles():
    def forward(inputs, training):
        with v1.variable_scope("norm"):
            scale = v1.get_variable("scale", [8], initializer=v1.ones_initializer())
            offset = v1.get_variable("offset", [8], initializer=v1.zeros_initializer())
        return tf.tanh(inputs["x"]) * scale + offset

    class Exchanged(keras.layers.Layer):
        def build(self, shape):
            self.gamma = self.add_weight(name="gamma", shape=(8,), initializer="ones")
            self.beta = self.add_weight(name="beta", shape=(8,), initializer="zeros")

        def call(self, x):
            return ops.tanh(x) * self.beta + self.gamma

    def make(self):
        self.layer = Exchanged(name="layer")
        return self.layer

    report = check(forward, model(make))
    assert report.verdict == "diverged"
    assert rules(report)["rename"] == [["^norm/scale$", "new/layer/gamma"], ["^norm/offset$", "new/layer/beta"]]


def test_a_lost_bias_is_not_made_up_by_an_unused_variable_of_its_shape():
    class Unused(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(name="kernel", shape=(8, 8))
            self.spare = self.add_weight(name="spare", shape=(8,))

        def call(self, x):
            return ops.matmul(x, self.kernel)

    def make(self):
        self.layer = Unused(name="layer")
        return self.layer

    report = check(lambda inputs, training: dense(inputs["x"], "layer"), model(make))
    assert report.verdict == "diverged"
    assert step(report).verdict == "diverged"
    assert "layer/bias: the candidate has no" in "\n".join(step(report).details)


@pytest.mark.parametrize("names", [("w1", "w2"), ("encoder_w", "decoder_w"), ("first", "second")])
def test_a_mistake_elsewhere_leaves_the_only_pairs_of_their_shapes(names):
    """Names of one's own say no role: where shapes leave one pairing, a wrong activation is what is told, alone."""

    def forward(inputs, training):
        first = v1.get_variable("projection_vars/weights", [8, 5])
        second = v1.get_variable("projection_1_vars/weights", [5, 3])
        return v1.matmul(v1.nn.relu(v1.matmul(inputs["x"], first)), second)

    class Custom(keras.layers.Layer):
        def build(self, shape):
            self.first = self.add_weight(name=names[0], shape=(8, 5), initializer="glorot_uniform")
            self.second = self.add_weight(name=names[1], shape=(5, 3), initializer="glorot_uniform")

        def call(self, x):
            return ops.matmul(ops.elu(ops.matmul(x, self.first)), self.second)

    def make(self):
        self.layer = Custom(name="layer")
        return self.layer

    report = check(forward, model(make))
    assert report.verdict == "diverged"
    assert step(report).verdict == "undecided"
    assert [culprit.kind for culprit in report.culprits] == ["operation"]
    assert "relu" in report.culprits[0].cause


def test_pairs_that_operations_agree_by_stay_pairs_though_a_mistake_lets_the_outputs_differ():
    """Three matrices of one shape, in names that say nothing: what reads each is right with its partner's values."""

    def forward(inputs, training):
        h = inputs["x"]
        for name in ("wte", "wpe", "wxe"):
            h = v1.nn.relu(v1.matmul(h, v1.get_variable(name, [8, 8])))
        return v1.nn.softmax(h, axis=-1)

    class Custom(keras.layers.Layer):
        def build(self, shape):
            self.all = [self.add_weight(name=name, shape=(8, 8), initializer="glorot_uniform") for name in "pqr"]

        def call(self, x):
            for weight in self.all:
                x = ops.relu(ops.matmul(x, weight))
            return ops.softmax(2.0 * x, axis=-1)

    def make(self):
        self.layer = Custom(name="layer")
        return self.layer

    report = check(forward, model(make))
    assert report.verdict == "diverged"
    assert step(report).figures["proposed_pairs"] == 3
    assert [culprit.kind for culprit in report.culprits] == ["operation"]
    assert report.culprits[0].pitfall in ("extra-operation", "constant-factor", "missing-scale")


def test_one_layer_used_twice_is_not_two_layers():
    def make(self):
        self.one = layer("one")
        return lambda x: self.one(ops.elu(self.one(x)))

    report = check(two_layers("one", "two"), model(make))
    assert report.verdict == "diverged"
    assert step(report).verdict == "diverged"


def test_outputs_that_are_always_the_same_confirm_nothing():
    def make(self):
        self.parts = [layer(name) for name in ("hidden", "out")]
        return lambda x: ops.relu(self.parts[0](x) * 0.0 - 1.0) + 0.0 * self.parts[1](x)

    def forward(inputs, training):
        return tf.nn.relu(dense(inputs["x"], "one") * 0.0 - 1.0) + 0.0 * dense(inputs["x"], "two")

    report = check(forward, model(make))
    assert report.verdict == "undecided"
    assert "the outputs are the same whatever the variables are" in step(report).summary


def test_branches_that_inference_cannot_tell_apart_are_told_apart_in_training_mode():
    def forward(inputs, training):
        one, two = dense(inputs["x"], "one"), dense(inputs["x"], "two")
        return v1.layers.dropout(one, 0.5, training=training) + two

    class Model(keras.Model):
        def __init__(self):
            super().__init__(name="new")
            self.left, self.right, self.drop = layer("left"), layer("right"), keras.layers.Dropout(0.5)

        def call(self, inputs, training=None):
            left = self.left(inputs["x"])
            return left + self.drop(self.right(inputs["x"]), training=training)

    report = check(forward, Model)
    assert dict(map(tuple, rules(report)["rename"])) == {"^one/": "new/right/", "^two/": "new/left/"}
    assert step(report, "training-random").verdict == "equivalent"


def test_an_lstm_whose_forget_bias_is_another_is_not_confirmed():
    def forward(inputs, training):
        cell = v1.nn.rnn_cell.LSTMCell(6, forget_bias=0.5)
        return v1.nn.dynamic_rnn(cell, inputs["x"], dtype=tf.float32)[0]

    def make(self):
        self.lstm = keras.layers.LSTM(6, return_sequences=True, name="lstm")
        return self.lstm

    report = check(forward, model(make))
    assert report.verdict != "equivalent"
    assert step(report).figures["proposal"] == "not confirmed"


def test_an_lstm_and_a_gru_get_transforms_and_parts():
    def forward(inputs, training):
        cell = v1.nn.rnn_cell.LSTMCell(6, name="lstm_cell")
        lstm = v1.nn.dynamic_rnn(cell, inputs["x"], dtype=tf.float32)[0]
        return v1.nn.dynamic_rnn(v1.nn.rnn_cell.GRUCell(5, name="gru_cell"), lstm, dtype=tf.float32)[0]

    def make(self):
        self.lstm = keras.layers.LSTM(6, return_sequences=True, name="lstm")
        self.gru = keras.layers.GRU(5, return_sequences=True, reset_after=False, name="gru")
        return lambda x: self.gru(self.lstm(x))

    report = check(forward, model(make))
    assert step(report).figures["proposal"] == "confirmed", step(report)
    assert step(report, "inference-fixed").verdict == "equivalent"
    assert set(rules(report)) == {"rename", "transform", "parts"}


def test_rules_that_are_given_stay_and_only_what_they_leave_is_proposed():
    report = check(
        attention(WORDS), rewritten_attention(WORDS), rename=[("^self/query/", "new/query/"), ("^self/", "new/")]
    )
    assert report.verdict == "equivalent"
    assert rules(report) == {"rename": [["^output/", "new/projection/"]]}


def test_names_that_say_nothing_in_parallel_branches_are_told_by_values():
    def forward(inputs, training):
        return dense(inputs["x"], "one") * tf.sigmoid(dense(inputs["x"], "two"))

    def make(self):
        self.parts = [layer(name) for name in ("gate", "carry")]

        def run(x):
            gate, carry = self.parts[0](x), self.parts[1](x)
            return carry * ops.sigmoid(gate)

        return run

    report = check(forward, model(make))
    assert report.verdict == "equivalent"
    assert dict(map(tuple, rules(report)["rename"])) == {"^one/": "new/carry/", "^two/": "new/gate/"}


@pytest.mark.parametrize("inputs", [X])
def test_nothing_is_proposed_where_one_side_alone_has_more(inputs):
    def make(self):
        self.parts = [layer("layer_0"), layer("layer_1")]
        return lambda x: self.parts[1](self.parts[0](x))

    report = check(lambda given, training: dense(given["x"], "new/layer_0"), model(make), inputs)
    assert report.verdict == "diverged"
    assert "proposal" not in step(report).figures


def transformer(inputs, training):
    def norm(x, name):
        with v1.variable_scope(name):
            gamma = v1.get_variable("gamma", [8], initializer=v1.ones_initializer())
            beta = v1.get_variable("beta", [8], initializer=v1.zeros_initializer())
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-5)

    x = inputs["x"]
    for block in range(2):
        with v1.variable_scope(f"bert/layer_{block}"):
            with v1.variable_scope("attention/self"):
                q, k, v = (v1.layers.dense(x, 8, name=name) for name in WORDS)
                c = tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True)), v)
            with v1.variable_scope("attention/output"):
                x = norm(x + v1.layers.dense(c, 8, name="dense"), "LayerNorm")
            with v1.variable_scope("intermediate"):
                h = v1.layers.dense(x, 16, tf.nn.elu, name="dense")
            with v1.variable_scope("output"):
                x = norm(x + v1.layers.dense(h, 8, name="dense"), "LayerNorm")
    return x


class Block(keras.layers.Layer):
    def __init__(self, epsilon=1e-5, **options):
        super().__init__(**options)
        self.q, self.k, self.v = (layer(name) for name in ("q", "k", "v"))
        self.projection, self.inner, self.outer = (
            layer("projection"),
            layer("inner", 16, activation="elu"),
            layer("outer"),
        )
        self.before = keras.layers.LayerNormalization(epsilon=1e-5, name="norm_before")
        self.after = keras.layers.LayerNormalization(epsilon=epsilon, name="norm_after")

    def call(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        c = ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1)))), v)
        x = self.before(x + self.projection(c))
        return self.after(x + self.outer(self.inner(x)))


def rewritten_transformer(**options):
    def make(self):
        self.blocks = [Block(name=f"block{number}", **options) for number in range(2)]

        def run(x):
            for block in self.blocks:
                x = block(x)
            return x

        return run

    return model(make)


def test_a_transformer_without_rules_takes_a_few_runs_more_than_with_them(monkeypatch):
    ran = []
    agree = settling._Bench.agree
    monkeypatch.setattr(settling._Bench, "agree", lambda *given, **options: ran.append(1) or agree(*given, **options))
    report = check(transformer, rewritten_transformer(), gradients=None)
    assert report.verdict == "equivalent", report
    assert "32 pairs by" in step(report).summary
    pasted = [tuple(rule) for rule in rules(report)["rename"]]
    assert len(pasted) <= 9
    again = check(transformer, rewritten_transformer(), gradients=None, rename=pasted)
    assert again.verdict == "equivalent"
    assert 1 <= len(ran) <= 8  # of the 64 that are tried at most


def test_a_wrong_epsilon_under_other_names_is_one_culprit():
    report = check(transformer, rewritten_transformer(epsilon=1e-3))
    assert report.verdict == "diverged"
    assert step(report).verdict == "undecided"
    assert {culprit.pitfall for culprit in report.culprits} == {"epsilon"}
