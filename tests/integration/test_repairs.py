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


def exchanged_gate(rounds=6):
    """The same unit, in which the gate and 1 minus it have changed places."""

    def forward(x, training):
        state = tf.zeros([6, 5])
        for _ in range(rounds):
            with v1.variable_scope("cell", reuse=v1.AUTO_REUSE):
                forget = tf.sigmoid(layers.dense(tf.concat([x, state], 1), 5, name="forget"))
                new = tf.tanh(layers.dense(tf.concat([x, forget * state], 1), 5, name="new"))
                state = forget * state + (1.0 - forget) * new
        return state

    return forward


def pooled(axis):
    """Attention over six places, whose weights sum to 1 along one axis or the other."""

    def forward(x, training):
        places = tf.reshape(layers.dense(x, 8, name="places"), [2, 6, 8])
        scores = layers.dense(tf.tanh(places), 6, name="scores")
        return tf.matmul(tf.nn.softmax(scores, axis=axis), places)

    return forward


def gain(axis):
    """A gain for each row or for each column of a square picture."""

    def forward(x, training):
        picture = tf.reshape(layers.dense(x, 6, name="picture"), [2, 6, 6])
        factor = tf.reshape(tf.reduce_max(tf.reshape(x, [2, 6, 8]), 2), [2, 6, 1] if axis == 1 else [2, 1, 6])
        return layers.dense(picture * factor, 3, name="head")

    return forward


def cross_entropy(*, of_logits):
    def forward(x, training):
        logits = layers.dense(x, 1, name="logits")
        wanted = tf.cast(x[:, :1] > 0, tf.float32)
        if of_logits:
            return tf.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=logits)
        kept = tf.clip_by_value(logits, 1e-7, 1 - 1e-7)
        return -(wanted * tf.math.log(kept) + (1 - wanted) * tf.math.log(1 - kept))

    return forward


def short_elu(x):
    return tf.where(x > 0, x, 0.25 * (tf.exp(tf.minimum(x, 0.0)) - 1.0))


def sharp_softplus(x):
    return tf.math.log(1.0 + tf.exp(3.0 * x)) / 3.0


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
    "a function with a number": (Pair(two_layers(short_elu), two_layers(tf.nn.elu)), "wrong-activation", "alpha 0.25"),
    "a function that is steeper": (
        Pair(two_layers(sharp_softplus), two_layers(tf.nn.softplus)),
        "wrong-activation",
        "softplus (beta 3)",
    ),
    "a form of a function": (Pair(two_layers(quick_gelu), two_layers(tf.nn.gelu)), "gelu-form", "quick gelu"),
    "a gate and its complement": (Pair(recurrence(tf.sigmoid), exchanged_gate()), "gate-order", "1 minus it"),
    "the axis of a softmax": (Pair(pooled(1), pooled(2), (12, 8)), "wrong-axis", "axis=1"),
    "the axis that is broadcast": (Pair(gain(1), gain(2), (12, 8)), "wrong-axis", "axis 1"),
    "logits taken for probabilities": (
        Pair(cross_entropy(of_logits=True), cross_entropy(of_logits=False)),
        "missing-activation",
        "from_logits",
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
