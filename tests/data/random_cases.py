"""What the random tool is compared on: TF1's way to draw, and Keras 3's for the same. Run by Python 3.7 too.

Each case is `name: (TF1's draw, how to make Keras's)`; the first takes TF 1.15's `tf` or today's `tf.compat.v1`, the
second takes `keras` and returns a function that draws. Both make the same number of draws, so that they may stand one
behind another.
"""

SHAPES = ((5, 7), (7, 5), (3, 3, 2, 4))
MODES = ("constant", "num_random_ops")

_X = [[0.5 * row + column + 1.0 for column in range(5)] for row in range(6)]
_IMAGE = [[[[1.0 + channel] * 4] * 3 for channel in range(3)] for _ in range(2)]
_LOGITS = [[0.1, 0.5, 0.2], [0.9, 0.3, 0.4]]

# Name -> (initializer of TF1, class and arguments of the Keras initializer that draws the same).
INITIALIZERS = {
    "glorot_uniform": (lambda tf: tf.glorot_uniform_initializer(), "GlorotUniform", {}),
    "glorot_normal": (lambda tf: tf.glorot_normal_initializer(), "GlorotNormal", {}),
    "he_uniform": (lambda tf: tf.initializers.he_uniform(), "HeUniform", {}),
    "he_normal": (lambda tf: tf.initializers.he_normal(), "HeNormal", {}),
    "lecun_uniform": (lambda tf: tf.initializers.lecun_uniform(), "LecunUniform", {}),
    "lecun_normal": (lambda tf: tf.initializers.lecun_normal(), "LecunNormal", {}),
    "random_normal": (lambda tf: tf.random_normal_initializer(0.5, 0.1), "RandomNormal", {"mean": 0.5, "stddev": 0.1}),
    "random_uniform": (
        lambda tf: tf.random_uniform_initializer(-0.3, 0.7), "RandomUniform", {"minval": -0.3, "maxval": 0.7}
    ),
    "truncated_normal": (
        lambda tf: tf.truncated_normal_initializer(0.5, 0.1), "TruncatedNormal", {"mean": 0.5, "stddev": 0.1}
    ),
    "orthogonal": (lambda tf: tf.orthogonal_initializer(1.5), "Orthogonal", {"gain": 1.5}),
}  # fmt: skip


def _variance_scaling(mode, distribution):
    return (
        lambda tf: tf.variance_scaling_initializer(scale=1.7, mode=mode, distribution=distribution),
        "VarianceScaling",
        {"scale": 1.7, "mode": mode, "distribution": distribution},
    )


for _mode in ("fan_in", "fan_out", "fan_avg"):
    for _distribution in ("uniform", "truncated_normal", "untruncated_normal"):
        INITIALIZERS["variance_scaling %s %s" % (_mode, _distribution)] = _variance_scaling(_mode, _distribution)


def _of_initializer(tf1, name, arguments, shape):
    def make(keras):
        initializer = getattr(keras.initializers, name)(**arguments)
        return lambda: initializer(shape)

    return lambda tf: tf1(tf)(shape), make


CASES = {
    "%s %s" % (name, shape): _of_initializer(*(INITIALIZERS[name] + (shape,)))
    for name in INITIALIZERS
    for shape in SHAPES
}


def _layer(name, *args, **kwargs):
    x = kwargs.pop("x", _X)

    def make(keras):
        layer = getattr(keras.layers, name)(*args, **kwargs)
        return lambda: layer(keras.ops.convert_to_tensor(x), training=True)

    return make


def _truncated_normal(keras):
    generator = keras.random.SeedGenerator(1)
    return lambda: keras.random.truncated_normal([4, 3], seed=generator)


def _beta(tf):
    x, y = tf.random.gamma([4], 2.0), tf.random.gamma([4], 3.0)
    return x / (x + y)


CASES.update({
    "Dropout": (lambda tf: tf.nn.dropout(tf.constant(_X), rate=0.4), _layer("Dropout", 0.4)),
    "Dropout, noise_shape": (
        lambda tf: tf.nn.dropout(tf.constant(_X), rate=0.4, noise_shape=[6, 1]),
        _layer("Dropout", 0.4, noise_shape=(None, 1)),
    ),
    "Dropout, seed": (lambda tf: tf.nn.dropout(tf.constant(_X), rate=0.5, seed=3), _layer("Dropout", 0.5, seed=9)),
    "SpatialDropout1D": (
        lambda tf: tf.nn.dropout(tf.constant(_IMAGE[0]), rate=0.3, noise_shape=[3, 1, 4]),
        _layer("SpatialDropout1D", 0.3, x=_IMAGE[0]),
    ),
    "SpatialDropout2D": (
        lambda tf: tf.nn.dropout(tf.constant(_IMAGE), rate=0.3, noise_shape=[2, 1, 1, 4]),
        _layer("SpatialDropout2D", 0.3, data_format="channels_last", x=_IMAGE),
    ),
    "GaussianNoise": (
        lambda tf: tf.constant(_X) + tf.random.normal([6, 5], stddev=0.2), _layer("GaussianNoise", 0.2)
    ),
    "GaussianDropout": (
        lambda tf: tf.constant(_X) * tf.random.normal([6, 5], 1.0, (0.2 / 0.8) ** 0.5), _layer("GaussianDropout", 0.2)
    ),
    "normal": (lambda tf: tf.random.normal([4, 3]), lambda keras: lambda: keras.random.normal([4, 3])),
    "uniform": (
        lambda tf: tf.random.uniform([4, 3], -1.0, 2.0),
        lambda keras: lambda: keras.random.uniform([4, 3], -1.0, 2.0, None, 5),
    ),
    "truncated_normal": (
        lambda tf: tf.random.truncated_normal([4, 3]),
        _truncated_normal,
    ),
    "randint": (
        lambda tf: tf.random.uniform([9], 3, 50, tf.int32), lambda keras: lambda: keras.random.randint([9], 3, 50)
    ),
    "categorical": (
        lambda tf: tf.random.categorical(tf.constant(_LOGITS), 6),
        lambda keras: lambda: keras.random.categorical(keras.ops.convert_to_tensor(_LOGITS), 6, dtype="int64"),
    ),
    "shuffle": (
        lambda tf: tf.random.shuffle(tf.constant(_X)), lambda keras: lambda: keras.random.shuffle(keras.ops.array(_X))
    ),
    "shuffle, axis 1": (
        lambda tf: tf.transpose(tf.random.shuffle(tf.transpose(tf.constant(_X)))),
        lambda keras: lambda: keras.random.shuffle(keras.ops.convert_to_tensor(_X), axis=1),
    ),
    "gamma": (lambda tf: tf.random.gamma([3, 2], 0.7), lambda keras: lambda: keras.random.gamma([3, 2], 0.7)),
    "gamma, two alphas": (
        lambda tf: tf.random.gamma([3], [0.7, 4.0]), lambda keras: lambda: keras.random.gamma([3, 2], [0.7, 4.0])
    ),
    "beta": (_beta, lambda keras: lambda: keras.random.beta([4], 2.0, 3.0)),
})  # fmt: skip
