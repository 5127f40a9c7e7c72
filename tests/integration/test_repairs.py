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


def causal(*, turned=False, selects=True):
    """Attention with a table of positions; what comes later is left out by a constant mask."""

    def forward(x, training):
        query, key = (tf.reshape(layers.dense(x, 8, name=n), [2, 6, 8]) for n in ("query", "key"))
        near = v1.get_variable("near", [6, 6])
        scores = (tf.matmul(query, key, transpose_b=True) + near) / 2.0
        earlier = tf.linalg.band_part(tf.ones([6, 6]), -1, 0)
        if selects:
            kept = tf.cast(earlier, tf.bool)
            scores = tf.where(~kept if turned else kept, scores, -1e9)
        else:
            scores = scores * earlier - 1e9 * (1.0 - earlier)
        return tf.matmul(tf.nn.softmax(scores), tf.reshape(x, [2, 6, 8]))

    return forward


def density(half, *, by_logarithms=True):
    """The logarithm of a Gaussian's density, written as it is defined or by logarithms throughout."""

    def forward(x, training):
        mean, spread = tf.split(layers.dense(x, 8, name="out"), 2, 1)
        if by_logarithms:
            return -0.5 * tf.square((x[:, :4] - mean) * tf.exp(half * spread)) - spread - 0.9189385
        sigma = tf.exp(spread)
        return tf.math.log(tf.exp(-tf.square((x[:, :4] - mean) / sigma) / 2.0) / sigma / 2.5066283)

    return forward


def reset(*, after, rounds=4):
    """A GRU by hand, whose reset gate is applied before or after the product."""

    def forward(x, training):
        state = tf.zeros([6, 5])
        for _ in range(rounds):
            with v1.variable_scope("cell", reuse=v1.AUTO_REUSE):
                gate = tf.sigmoid(layers.dense(tf.concat([x, state], 1), 5, name="reset"))
                kernel = v1.get_variable("kernel", [5, 5])
                carried = gate * tf.matmul(state, kernel) if after else tf.matmul(gate * state, kernel)
                state = tf.tanh(layers.dense(x, 5, name="new") + carried)
        return state

    return forward


def long_memory(*, order=(0, 1, 2, 3), bias=1.0, rounds=4, end=tf.identity):
    """An LSTM by hand."""

    def forward(x, training):
        memory = state = tf.zeros([6, 5])
        for _ in range(rounds):
            with v1.variable_scope("cell", reuse=v1.AUTO_REUSE):
                pieces = tf.split(layers.dense(tf.concat([x, state], 1), 20, name="gates"), 4, axis=1)
                taken, kept, new, given = (pieces[place] for place in order)
                kept = kept + bias if bias else kept
                memory = tf.sigmoid(kept) * memory + tf.sigmoid(taken) * tf.tanh(new)
                state = tf.sigmoid(given) * tf.tanh(memory)
        return end(layers.dense(state, 3, name="head"))

    return forward


def norm_of(x, axes, name, *, centred=True, groups=0, squeezed=False):
    with v1.variable_scope(name):
        shape = [int(size) for size in x.shape]
        pieces = tf.reshape(x, [*shape[:-1], groups, shape[-1] // groups]) if groups else x
        around = pieces - tf.reduce_mean(pieces, axes, keepdims=True) if centred else pieces
        square = tf.reduce_mean(tf.square(around), axes, keepdims=True) + 1e-3
        made = around / tf.sqrt(square) if squeezed else around * tf.math.rsqrt(square)
        return tf.reshape(made, shape) * v1.get_variable("gain", shape[-1:])


def normalized(**options):
    """A norm between two dense layers, over pictures (2, 6, 8)."""

    def forward(x, training):
        picture = tf.reshape(layers.dense(x, 8, name="first"), [2, 6, 8])
        return layers.dense(norm_of(picture, name="norm", **options), 3, name="last")

    return forward


def many_heads(*, inner=False, scale=0.5, function=tf.tanh):
    def forward(x, training):
        places = norm_of(tf.reshape(layers.dense(x, 8, name="places"), [2, 6, 8]), [2], "norm")

        def heads(name):
            made = layers.dense(places, 8, name=name)
            if inner:
                return tf.transpose(tf.reshape(made, [2, 6, 4, 2]), [0, 3, 1, 2])
            return tf.transpose(tf.reshape(made, [2, 6, 2, 4]), [0, 2, 1, 3])

        query, key, value = map(heads, ("query", "key", "value"))
        scores = tf.matmul(query, key, transpose_b=True)
        scores = scores * scale if scale else scores
        mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
        wide = function(layers.dense(tf.reshape(mixed, [2, 6, 8]), 12, name="wide"))
        return layers.dense(wide, 8, name="narrow")

    return forward


def classified(*, smoothed=0.0, mean=False):
    def forward(x, training):
        logits = layers.dense(x, 5, name="logits")
        labels = tf.one_hot(tf.argmax(x, axis=1) % 5, 5)
        labels = labels * (1.0 - smoothed) + smoothed / 5 if smoothed else labels
        each = -tf.reduce_sum(labels * tf.nn.log_softmax(logits), axis=1)
        weights = tf.cast(x[:, 0] > 0, tf.float32)
        total = tf.reduce_sum(weights * each)
        return tf.reduce_mean(weights * each) if mean else total / (tf.reduce_sum(weights) + 1e-5)

    return forward


def spelled_mish(x):
    return x * tf.tanh(tf.math.log(1.0 + tf.exp(x)))


def nameless(x):
    return x / (1.0 + tf.abs(x)) - tf.square(x)


def another_nameless(x):
    return x / (1.0 + tf.square(x)) + tf.abs(x)


def read_along(*, backwards=False):
    """Sums up what six steps leave behind, each with what came before."""

    def forward(x, training):
        steps = tf.unstack(tf.reshape(layers.dense(x, 8, name="places"), [2, 6, 8]), axis=1)
        state = tf.zeros([2, 8])
        for step in reversed(steps) if backwards else steps:
            with v1.variable_scope("cell", reuse=v1.AUTO_REUSE):
                state = tf.tanh(layers.dense(state, 8, name="carry") + step)
        return state

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
    # TensorFlow transposes for an axis that is not the last one: the fix counts axes as the code does.
    "the axis of a softmax that is transposed for it": (Pair(pooled(2), pooled(1), (12, 8)), "wrong-axis", "axis=2"),
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
    "a reset gate behind the product": (Pair(reset(after=False), reset(after=True)), "operation-order", "before"),
    "a reset gate before the product": (Pair(reset(after=True), reset(after=False)), "operation-order", "after"),
    "gates in another order": (
        Pair(long_memory(), long_memory(order=(0, 1, 3, 2))),
        "gate-order",
        "(0, 1, 3, 2)",
    ),
    "gates in an order of their own": (Pair(long_memory(), long_memory(order=(1, 2, 0, 3))), "gate-order", "order"),
    "no forget bias": (Pair(long_memory(), long_memory(bias=0.0)), "forget-bias", "add 1"),
    "a norm's axes": (
        Pair(normalized(axes=[2]), normalized(axes=[1, 2], squeezed=True), (12, 8)),
        "wrong-axis",
        "axis 2",
    ),
    "a norm's groups": (
        Pair(normalized(axes=[1, 3], groups=4), normalized(axes=[1, 3], groups=2, squeezed=True), (12, 8)),
        "wrong-axis",
        "4 groups",
    ),
    "a norm that is not centred": (
        Pair(normalized(axes=[2], centred=False), normalized(axes=[2], squeezed=True), (12, 8)),
        "wrong-operation",
        "RMS",
    ),
    "a norm that is centred": (
        Pair(normalized(axes=[2], squeezed=True), normalized(axes=[2], centred=False), (12, 8)),
        "wrong-operation",
        "subtract the mean",
    ),
    "how heads are split": (Pair(many_heads(), many_heads(inner=True), (12, 8)), "head-order", "arrange"),
    "scores that are not scaled": (Pair(many_heads(), many_heads(scale=None), (12, 8)), "missing-scale", "0.5"),
    "smoothed labels": (Pair(classified(), classified(smoothed=0.1)), "wrong-operation", "smooth"),
    "a loss's reduction": (Pair(classified(), classified(mean=True)), "wrong-operation", "divide"),
    "a function without a name": (
        Pair(two_layers(nameless), two_layers(another_nameless)),
        "wrong-activation",
        "come to",
    ),
    "a sequence read from its end": (
        Pair(read_along(), read_along(backwards=True), (12, 8)),
        "wrong-input",
        "other end",
    ),
    "a number folded into others": (
        Pair(density(-1.0, by_logarithms=False), density(-0.5)),
        "constant-factor",
        "use -1",
    ),
    "a constant mask turned over": (
        Pair(causal(selects=False), causal(turned=True), (12, 8)),
        "mask",
        "reads is inverted",
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


TWO_MISTAKES = {
    "a norm and a function": (
        many_heads(function=spelled_silu),
        many_heads(function=tf.nn.gelu, scale=0.25),
        {"constant-factor", "wrong-activation"},
    ),
    "heads and a function": (
        many_heads(function=spelled_silu),
        many_heads(function=tf.nn.gelu, inner=True),
        {"head-order", "wrong-activation"},
    ),
}


@pytest.mark.parametrize("name", TWO_MISTAKES)
def test_two_mistakes_in_one_output_are_two_culprits(name):
    reference, candidate, pitfalls = TWO_MISTAKES[name]
    found = Pair(reference, candidate, (12, 8)).culprits()
    assert {culprit.pitfall for culprit in found} == pitfalls
    assert len(found) == 2


def test_a_mistake_in_a_loop_and_one_behind_it_are_two_culprits():
    reference = long_memory(end=lambda x: tf.nn.softmax(spelled_mish(x)))
    candidate = long_memory(order=(0, 1, 3, 2), end=lambda x: tf.nn.softmax(spelled_silu(x)))
    assert {culprit.pitfall for culprit in Pair(reference, candidate).culprits()} == {"gate-order", "wrong-activation"}


def test_what_is_right_has_no_culprit_however_it_is_spelled():
    assert Pair(rms_norm(1e-6), rms_norm(1e-6, fused=True)).culprits() == ()
