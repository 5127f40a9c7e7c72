"""One mistake that shows in many places is told once: the edit of the candidate after which all agrees."""

import pytest
import tensorflow as tf
from tests.integration.pitfall_pairs import Pair

from lockstep import tf1

v1, layers = tf.compat.v1, tf.compat.v1.layers


@pytest.fixture(autouse=True)
def tf1_code():
    tf1.enable()
    yield
    tf1.disable()


def rms_norm(epsilon, *, fused=False):
    def forward(x, training):
        gain = v1.get_variable("gain", [8])
        square = tf.reduce_mean(tf.square(x), axis=-1, keepdims=True)
        if fused:  # another way to write the same
            return x / tf.sqrt(square + epsilon) * gain
        return x * (tf.math.rsqrt(square + epsilon) * gain)

    return forward


def two_layers(function, last=lambda x: x):
    def forward(x, training):
        net = layers.dense(x, 16, function, name="one")
        net = layers.dense(net, 16, function, name="two")
        return last(layers.dense(net, 4, name="head"))

    return forward


def spelled_silu(x):
    return x / (1.0 + tf.exp(-x))


def quick_gelu(x):
    return x * tf.sigmoid(1.702 * x)


def recurrence(gate, rounds=6):
    """A minimal gated unit by hand: the same code in each round."""

    def forward(x, training):
        state = tf.zeros([6, 5])
        for _ in range(rounds):
            with v1.variable_scope("cell", reuse=v1.AUTO_REUSE):
                both = tf.concat([x, state], 1)
                forget = gate(layers.dense(both, 5, name="forget"))
                new = tf.tanh(layers.dense(tf.concat([x, forget * state], 1), 5, name="new"))
                state = (1.0 - forget) * state + forget * new
        return state

    return forward


def hard_gate(x):
    return tf.clip_by_value(0.2 * x + 0.5, 0.0, 1.0)


def attention(*, exchanged=False, turned=False, scale=0.5):
    def forward(x, training):
        query, key, value = (tf.reshape(layers.dense(x, 8, name=n), [2, 6, 8]) for n in ("query", "key", "value"))
        if exchanged:
            key, value = value, key
        shown = tf.reshape(tf.cast(x[:, 0] > 0, tf.float32), [2, 1, 6])
        if turned:
            shown = 1.0 - shown
        scores = tf.matmul(query, key, transpose_b=True) * scale - 1e9 * (1.0 - shown)
        return tf.matmul(tf.nn.softmax(scores), value)

    return forward


ONE_MISTAKE = {
    "epsilon of a norm that is spelled otherwise": (
        Pair(rms_norm(1e-6), rms_norm(1e-3, fused=True)),
        "epsilon",
        "1e-06",
    ),
    "a function in all layers": (
        Pair(two_layers(spelled_silu), two_layers(tf.nn.gelu)),
        "wrong-activation",
        "swish",
    ),
    "a gate's function in every round": (
        Pair(recurrence(hard_gate), recurrence(tf.sigmoid)),
        "wrong-activation",
        "hard sigmoid",
    ),
    "tensors exchanged": (
        Pair(attention(), attention(exchanged=True), (12, 8)),
        "wrong-input",
        "net/key and migrated/net/value",
    ),
    "a mask turned over": (Pair(attention(), attention(turned=True), (12, 8)), "mask", "1 - "),
}


@pytest.mark.parametrize("name", ONE_MISTAKE)
def test_one_mistake_is_one_culprit_with_its_cause(name):
    pair, pitfall, said = ONE_MISTAKE[name]
    (culprit,) = pair.culprits()
    assert culprit.pitfall == pitfall
    assert said in culprit.cause + culprit.fix


def test_what_follows_is_counted():
    pair, _, _ = ONE_MISTAKE["a function in all layers"]
    assert pair.culprits()[0].consequences >= 1


def test_two_mistakes_are_not_told_as_one():
    candidate = two_layers(tf.nn.gelu, last=lambda x: 3.0 * x)
    causes = {
        culprit.pitfall for culprit in Pair(two_layers(spelled_silu, last=lambda x: 2.0 * x), candidate).culprits()
    }
    assert "constant-factor" in causes
    assert len(causes) > 1


def test_what_is_right_has_no_culprit_however_it_is_spelled():
    assert Pair(rms_norm(1e-6), rms_norm(1e-6, fused=True)).culprits() == ()
