"""The configurations of tf.layers that TF 1.15 and Lockstep both run: read by the recorder and by the test.

Python 3.7 syntax. `body(tf, layers, x, training)` gets `tensorflow.compat.v1`, the layers' module, the input tensor and
`training`, and returns a tensor, or a list of tensors and of plain facts (strings and numbers).
"""

import collections

import numpy as np

Case = collections.namedtuple("Case", "name shape body trains dtype modes")
CASES = []


def case(shape, trains=False, dtype="float32", modes=("graph", "eager")):
    def register(body):
        CASES.append(Case(body.__name__, shape, body, trains, dtype, modes))
        return body

    return register


def simple(title, shape, function, trains=False, dtype="float32", modes=("graph", "eager"), **arguments):
    """Registers one call of one functional layer."""

    def body(tf, layers, x, training):
        given = {k: (v.of(tf) if isinstance(v, Made) else v) for k, v in arguments.items()}
        if trains:
            given["training"] = training
        return getattr(layers, function)(x, **given)

    CASES.append(Case(title, shape, body, trains, dtype, modes))


class Made:
    """An argument that needs the framework: `of` is called with `tensorflow.compat.v1`."""

    def __init__(self, of):
        self.of = of


# Two updates of one variable: their order is free within one Session.run, and the result depends on it.
UPDATES_ONE_BY_ONE = {"batch_norm_shared_by_two_inputs"}


def run_updates(session, a_case, outputs, losses, updates):
    """Runs a step; returns the values of the outputs and of the losses."""
    if a_case.name in UPDATES_ONE_BY_ONE:
        values = session.run([outputs, losses])
        for update in updates:
            session.run(update)
        return values
    return session.run([outputs, losses, updates])[:2]


def input_of(a_case):
    return np.random.RandomState(7).uniform(-1, 1, a_case.shape).astype(a_case.dtype)


def moved_value(name, initial):
    """A value away from the initial one, the same for every run: at initial values some mistakes do not show."""
    if name.startswith("from_zero/moving"):
        return np.zeros_like(initial)
    seed = sum(ord(letter) * (place + 1) for place, letter in enumerate(name)) % 100003
    return np.random.RandomState(seed).uniform(0.2, 0.9, initial.shape).astype(initial.dtype)


def l2(scale):
    return Made(lambda tf: lambda v: scale * tf.nn.l2_loss(v))


relu = Made(lambda tf: tf.nn.relu)
truncated = Made(lambda tf: tf.truncated_normal_initializer(stddev=0.1))

# --- dense
simple("dense_default", (3, 4), "dense", units=5)
simple("dense_named_relu_without_bias", (3, 4), "dense", units=5, activation=relu, use_bias=False, name="logits")
simple("dense_rank_3", (2, 3, 4), "dense", units=5, name="d")
simple("dense_regularized", (3, 4), "dense", units=2, kernel_regularizer=l2(0.1), bias_regularizer=l2(0.01))
simple("dense_activity_regularized", (3, 4), "dense", units=2, activity_regularizer=l2(0.3), name="d")
simple("dense_float64", (3, 4), "dense", units=2, dtype="float64")
simple("dense_names_for_functions", (3, 4), "dense", units=2, activation="tanh", kernel_initializer="he_normal")
simple("dense_random_normal_by_name", (3, 4), "dense", units=2, kernel_initializer="random_normal")
simple("dense_l2_by_name", (3, 4), "dense", units=2, kernel_regularizer="l2", bias_initializer="ones")
simple("dense_not_trainable", (3, 4), "dense", units=2, trainable=False, kernel_regularizer=l2(0.1))
simple("dense_initializers", (3, 4), "dense", units=2, kernel_initializer=truncated, bias_initializer=truncated)
simple("dense_initializer_class", (3, 4), "dense", units=2, kernel_initializer=Made(lambda tf: tf.ones_initializer))
simple("dense_one_input", (1, 1), "dense", units=1)


@case((3, 4))
def dense_default_names_count_up(tf, layers, x, training):
    return [layers.dense(layers.dense(layers.dense(x, 4), 4), 4)]


@case((3, 4))
def dense_reuse_by_name(tf, layers, x, training):
    first = layers.dense(x, 4, name="d", kernel_regularizer=tf.nn.l2_loss)
    return layers.dense(first, 4, name="d", kernel_regularizer=tf.nn.l2_loss, reuse=True)


@case((3, 4))
def dense_auto_reuse_scope(tf, layers, x, training):
    for _ in range(2):
        with tf.variable_scope("outer", reuse=tf.AUTO_REUSE):
            x = layers.dense(x, 4, name="d", bias_regularizer=tf.nn.l2_loss)
    return x


@case((3, 4))
def dense_scope_defaults(tf, layers, x, training):
    with tf.variable_scope(
        "outer",
        initializer=tf.random_uniform_initializer(-0.3, 0.3),
        regularizer=lambda v: 0.25 * tf.nn.l2_loss(v),
    ):
        x = layers.dense(x, 4, kernel_regularizer=lambda v: 0.5 * tf.nn.l2_loss(v))
        return layers.dense(x, 3, bias_initializer=None)


@case((3, 4))
def dense_renaming_getter(tf, layers, x, training):
    def getter(getter, name, *args, **kwargs):
        return getter(name.replace("kernel", "weights"), *args, **kwargs)

    with tf.variable_scope("outer", custom_getter=getter):
        return layers.dense(x, 4, kernel_regularizer=tf.nn.l2_loss)


@case((3, 4))
def dense_getter_makes_untrainable(tf, layers, x, training):
    def getter(getter, name, *args, **kwargs):
        kwargs["trainable"] = False
        return getter(name, *args, **kwargs)

    with tf.variable_scope("outer", custom_getter=getter):
        layer = layers.Dense(4)
        y = layer(x)
    return [y, len(layer.trainable_variables), len(layer.non_trainable_variables)]


@case((3, 4), modes=("graph",))
def dense_partitioned(tf, layers, x, training):
    with tf.variable_scope("outer", partitioner=tf.fixed_size_partitioner(2)):
        layer = layers.Dense(4, kernel_regularizer=tf.nn.l2_loss)
        y = layer(x)
    return [y, len(layer.trainable_variables), len(layer.non_trainable_variables), len(layer.losses)]


@case((3, 4))
def dense_nested_scopes(tf, layers, x, training):
    for _ in range(2):
        with tf.variable_scope(None, "block"):
            x = layers.dense(x, 4)
            with tf.variable_scope("inner"):
                x = layers.dense(x, 4, name="d")
                x = layers.dense(x, 4)
    return x


@case((3, 4))
def dense_scope_entered_again(tf, layers, x, training):
    with tf.variable_scope("a") as scope:
        x = layers.dense(x, 4)
    with tf.variable_scope("b"):
        x = layers.dense(x, 4)
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE, auxiliary_name_scope=False):
        x = layers.dense(layers.dense(x, 4), 4)
    with tf.variable_scope(scope, reuse=True):
        return layers.dense(x, 4, name="dense")


@case((3, 4))
def dense_activation_with_variable(tf, layers, x, training):
    def prelu(y):
        alpha = tf.get_variable("alpha", [], initializer=tf.constant_initializer(0.2))
        return tf.maximum(y, 0.0) + alpha * tf.minimum(y, 0.0)

    return layers.dense(layers.dense(x, 4, activation=prelu), 4, activation=prelu, name="d")


@case((3, 4))
def dense_constructor_dtype(tf, layers, x, training):
    layer = layers.Dense(3, dtype=tf.float32)
    y = layer.apply(x)
    return [y, layer.dtype, str(layer.kernel.shape), layer.count_params()]


@case((3, 4))
def dense_instance_used_twice(tf, layers, x, training):
    layer = layers.Dense(4, kernel_regularizer=tf.nn.l2_loss, activity_regularizer=tf.nn.l2_loss)
    y = layer(layer(x))
    return [y, layer.name, layer.scope_name, len(layer.variables), layer.built, layer.units]


@case((3, 4))
def dense_instance_named_is_made_unique(tf, layers, x, training):
    first, second = layers.Dense(4, name="d"), layers.Dense(4, name="d")
    y = second(first(x))
    return [y, first.name, second.name, first.scope_name, second.scope_name]


@case((3, 4))
def dense_scope_argument_of_slim(tf, layers, x, training):
    with tf.variable_scope("fc", reuse=None) as scope:
        layer = layers.Dense(4, name=scope.name, dtype=x.dtype.base_dtype, _scope=scope, _reuse=None)
        y = layer.apply(x)
    return [y, layer.scope_name, layer.bias.shape.as_list()[0]]


@case((3, 4))
def dense_called_with_scope(tf, layers, x, training):
    layer = layers.Dense(4)
    return [layer(x, scope="given"), layer.scope_name]


# --- convolutions
simple("conv1d_same", (2, 6, 3), "conv1d", filters=4, kernel_size=3, padding="same")
simple("conv1d_strided", (2, 7, 3), "conv1d", filters=4, kernel_size=3, strides=2, use_bias=False)
simple("conv1d_causal_dilated", (2, 7, 3), "conv1d", filters=2, kernel_size=2, padding="causal", dilation_rate=2)
simple("conv1d_dilated_same", (2, 7, 3), "conv1d", filters=2, kernel_size=3, padding="SAME", dilation_rate=2)
simple("conv2d_default", (2, 5, 6, 3), "conv2d", filters=4, kernel_size=3)
simple(
    "conv2d_same_strided_relu",
    (2, 6, 5, 3),
    "conv2d",
    filters=4,
    kernel_size=[3, 2],
    strides=2,
    padding="same",
    activation=relu,
    name="c",
)
simple("conv2d_dilated", (1, 9, 9, 2), "conv2d", filters=2, kernel_size=3, dilation_rate=(2, 2))
simple("conv2d_dilated_same", (1, 8, 7, 2), "conv2d", filters=2, kernel_size=3, dilation_rate=(2, 3), padding="same")
simple(
    "conv2d_regularized",
    (1, 4, 4, 2),
    "conv2d",
    filters=2,
    kernel_size=1,
    kernel_regularizer=l2(0.2),
    bias_regularizer=l2(0.1),
    activity_regularizer=l2(0.1),
    kernel_initializer=truncated,
)
simple("conv2d_float64", (1, 4, 4, 2), "conv2d", filters=2, kernel_size=2, dtype="float64")
simple("conv3d_same_strided", (1, 4, 5, 4, 2), "conv3d", filters=3, kernel_size=2, strides=2, padding="same")
simple("conv3d_valid", (1, 3, 3, 4, 2), "conv3d", filters=2, kernel_size=(2, 1, 2), activation="relu")
simple("separable_conv1d_same", (2, 6, 3), "separable_conv1d", filters=4, kernel_size=3, padding="same")
simple(
    "separable_conv1d_causal",
    (2, 6, 3),
    "separable_conv1d",
    filters=4,
    kernel_size=3,
    padding="causal",
    depth_multiplier=2,
    dilation_rate=2,
)
simple("separable_conv2d_default", (2, 5, 5, 3), "separable_conv2d", filters=4, kernel_size=3)
simple(
    "separable_conv2d_everything",
    (1, 6, 6, 3),
    "separable_conv2d",
    filters=4,
    kernel_size=2,
    strides=2,
    padding="same",
    depth_multiplier=2,
    activation=relu,
    depthwise_regularizer=l2(0.1),
    pointwise_regularizer=l2(0.2),
    bias_regularizer=l2(0.3),
    pointwise_initializer=truncated,
    name="s",
)
simple(
    "separable_conv2d_dilated",
    (1, 7, 7, 2),
    "separable_conv2d",
    filters=2,
    kernel_size=2,
    dilation_rate=2,
    use_bias=False,
)
simple("conv2d_transpose_valid", (1, 3, 4, 2), "conv2d_transpose", filters=3, kernel_size=3, strides=2)
simple(
    "conv2d_transpose_same",
    (1, 3, 4, 2),
    "conv2d_transpose",
    filters=3,
    kernel_size=(2, 3),
    strides=(3, 1),
    padding="same",
    activation=relu,
    use_bias=False,
)
simple("conv2d_transpose_window_below_stride", (1, 3, 3, 2), "conv2d_transpose", filters=2, kernel_size=1, strides=2)
simple("conv3d_transpose_valid", (1, 2, 3, 2, 2), "conv3d_transpose", filters=3, kernel_size=2, strides=2)
simple(
    "conv3d_transpose_same",
    (1, 2, 3, 2, 2),
    "conv3d_transpose",
    filters=2,
    kernel_size=3,
    padding="same",
    kernel_regularizer=l2(0.1),
)


@case((1, 2, 3, 4))
def conv2d_transpose_channels_first_without_bias(tf, layers, x, training):
    return layers.conv2d_transpose(x, 3, 2, strides=2, data_format="channels_first", use_bias=False)


@case((2, 5, 5, 3))
def conv2d_default_names_count_up(tf, layers, x, training):
    with tf.variable_scope("tower"):
        x = layers.conv2d(x, 3, 1)
        x = layers.conv2d(x, 3, 1, name="mine")
        return layers.conv2d(x, 3, 1)


@case((2, 5, 5, 3))
def conv2d_renamed_as_slim_does(tf, layers, x, training):
    def getter(getter, name, *args, **kwargs):
        rename = {"kernel": "weights", "bias": "biases"}
        parts = name.split("/")
        parts[-1] = rename.get(parts[-1], parts[-1])
        return getter("/".join(parts), *args, **kwargs)

    with tf.variable_scope(None, "Conv", [x], reuse=None, custom_getter=getter) as scope:
        layer = layers.Conv2D(
            2,
            3,
            padding="SAME",
            kernel_regularizer=tf.nn.l2_loss,
            name=scope.name,
            dtype=x.dtype.base_dtype,
            _scope=scope,
            _reuse=None,
        )
        y = layer.apply(x)
    return [y, layer.name, layer.kernel.name, layer.use_bias]


@case((1, 5, 5, 3))
def conv_instances_tell_their_shapes(tf, layers, x, training):
    conv = layers.Conv2D(4, 3, strides=2, padding="same", dilation_rate=1)
    y = conv(x)
    return [
        y,
        str(conv.compute_output_shape((None, 7, 8, 3)).as_list()),
        str(conv.kernel_size),
        str(conv.strides),
        conv.padding,
        conv.data_format,
        conv.rank,
        conv.input_spec.ndim,
        str(conv.input_spec.axes),
    ]


# --- batch normalisation
bn = "batch_normalization"
simple("batch_norm_fused", (4, 3, 3, 2), bn, True)
simple("batch_norm_fused_without_scale_or_center", (4, 3, 3, 2), bn, True, scale=False, center=False, name="bn")
simple("batch_norm_fused_positive_axis", (4, 3, 3, 2), bn, True, axis=3)
simple("batch_norm_fused_small_epsilon", (4, 3, 3, 2), bn, True, epsilon=1e-9, momentum=0.9997)
simple(
    "batch_norm_fused_initializers",
    (4, 3, 3, 2),
    bn,
    True,
    gamma_initializer=truncated,
    moving_variance_initializer=truncated,
    beta_initializer=truncated,
    moving_mean_initializer=truncated,
)
simple("batch_norm_regularized", (4, 3, 3, 2), bn, True, gamma_regularizer=l2(0.1), beta_regularizer=l2(0.2))
simple("batch_norm_not_fused", (4, 3, 3, 2), bn, True, fused=False)
simple("batch_norm_not_fused_first_axis", (4, 2, 3, 3), bn, True, fused=False, axis=1)
simple("batch_norm_rank_2", (6, 3), bn, True, momentum=0.9997)
simple("batch_norm_rank_2_without_scale", (6, 3), bn, True, scale=False)
simple("batch_norm_fused_from_zero", (4, 3, 3, 2), bn, True, momentum=0.9997, name="from_zero")
simple("batch_norm_rank_2_from_zero", (6, 3), bn, True, momentum=0.9997, name="from_zero")
simple("batch_norm_rank_3", (4, 3, 2), bn, True)
simple("batch_norm_rank_3_middle_axis", (4, 3, 2), bn, True, axis=1)
simple("batch_norm_rank_5", (2, 2, 2, 2, 3), bn, True)
simple("batch_norm_axis_2_of_rank_4", (2, 3, 4, 2), bn, True, axis=2)
simple("batch_norm_two_axes", (4, 3, 2, 2), bn, True, axis=[1, 3], fused=False)
simple("batch_norm_float64", (6, 3), bn, True, dtype="float64", momentum=0.9)
simple("batch_norm_float16", (6, 3), bn, True, dtype="float16")
simple("batch_norm_not_trainable", (4, 3, 3, 2), bn, True, trainable=False)
simple("batch_norm_virtual_batches", (6, 3), bn, True, virtual_batch_size=2)
simple("batch_norm_virtual_batches_rank_4", (4, 3, 3, 2), bn, True, virtual_batch_size=2)
simple("batch_norm_renorm", (6, 3), bn, True, renorm=True)
simple(
    "batch_norm_renorm_clipped",
    (6, 3),
    bn,
    True,
    renorm=True,
    renorm_momentum=0.9,
    renorm_clipping={"rmin": 0.8, "rmax": 1.2, "dmax": 0.1},
)
simple("batch_norm_renorm_rank_4", (4, 3, 3, 2), bn, True, renorm=True, renorm_clipping={"rmax": 1.5})
simple("batch_norm_renorm_first_axis", (4, 2, 3), bn, True, renorm=True, axis=1)
simple("batch_norm_renorm_not_trainable", (6, 3), bn, True, renorm=True, trainable=False)
simple(
    "batch_norm_adjustment",
    (6, 3),
    bn,
    True,
    adjustment=Made(
        lambda tf: lambda shape: (0.9 + 0.1 * tf.cast(tf.range(shape[-1]), tf.float32), 0.2 * tf.ones([shape[-1]]))
    ),
)


@case((4, 3, 3, 2), trains=True)
def batch_norm_training_tensor(tf, layers, x, training):
    return layers.batch_normalization(x, training=tf.constant(training))


@case((4, 3, 3, 2), trains=True)
def batch_norm_training_placeholder(tf, layers, x, training):
    return layers.batch_normalization(x, training=tf.placeholder_with_default(training, []))


@case((4, 3), trains=True)
def batch_norm_rank_2_training_placeholder(tf, layers, x, training):
    return layers.batch_normalization(x, training=tf.placeholder_with_default(training, []))


@case((4, 3), trains=True)
def batch_norm_renorm_training_placeholder(tf, layers, x, training):
    return layers.batch_normalization(x, renorm=True, training=tf.placeholder_with_default(training, []))


@case((4, 3, 3, 2), trains=True)
def batch_norm_training_number(tf, layers, x, training):
    return layers.batch_normalization(x, training=int(training))


@case((4, 3, 3, 2), trains=True, modes=("graph",))
def batch_norm_shared_by_two_inputs(tf, layers, x, training):
    layer = layers.BatchNormalization(momentum=0.9)
    y, z = layer(x, training=training), layer(2.0 * x, training=training)
    return [
        y,
        z,
        len(layer.updates),
        len(layer.get_updates_for(x)),
        len(layer.get_updates_for(None)),
        len(layer.get_updates_for(tf.ones([1]))),
        layer.name,
        len(layer.trainable_variables),
    ]


@case((4, 3, 3, 2), trains=True)
def batch_norm_as_slim_makes_it(tf, layers, x, training):
    with tf.variable_scope(None, "BatchNorm", [x]) as scope:
        layer = layers.BatchNormalization(
            axis=-1,
            momentum=0.999,
            epsilon=0.001,
            scale=False,
            trainable=True,
            name=scope.name,
            _scope=scope,
            _reuse=None,
            fused=True,
        )
        y = layer.apply(x, training=training)
    return [y, str(layer.gamma is None), layer.moving_mean.name, str(layer.axis), str(layer.fused)]


@case((4, 3), trains=True, modes=("graph",))
def batch_norm_partitioned_scope(tf, layers, x, training):
    with tf.variable_scope("p", partitioner=tf.fixed_size_partitioner(3)):
        return layers.batch_normalization(x, training=training, fused=False)


# --- dropout and flatten
simple("dropout_default", (5, 6), "dropout", True)
simple("dropout_rate", (5, 6), "dropout", True, rate=0.2, name="drop")
simple("dropout_zero", (5, 6), "dropout", True, rate=0.0)
simple("dropout_noise_shape", (5, 6), "dropout", True, rate=0.3, noise_shape=[None, 1])
simple("dropout_seed", (5, 6), "dropout", True, rate=0.3, seed=11)
simple("flatten", (2, 3, 4), "flatten")
simple("flatten_channels_first", (2, 3, 4, 2), "flatten", data_format="channels_first")
simple("flatten_rank_2", (2, 3), "flatten")


@case((5, 6), trains=True)
def dropout_training_placeholder(tf, layers, x, training):
    return layers.dropout(x, training=tf.placeholder_with_default(training, []))


@case((5, 6), trains=True)
def dropout_between_dense(tf, layers, x, training):
    for _ in range(2):
        x = layers.dropout(layers.dense(x, 4), 0.4, training=training)
    return x


# --- pooling
for _kind in ("average", "max"):
    for _rank, _shape in ((1, (2, 7, 3)), (2, (2, 7, 6, 2)), (3, (1, 5, 4, 5, 2))):
        simple("%s_pooling%dd_valid" % (_kind, _rank), _shape, "%s_pooling%dd" % (_kind, _rank), pool_size=2, strides=2)
        simple(
            "%s_pooling%dd_same" % (_kind, _rank),
            _shape,
            "%s_pooling%dd" % (_kind, _rank),
            pool_size=3,
            strides=2,
            padding="same",
            name="pool",
        )
        simple("%s_pooling%dd_gaps" % (_kind, _rank), _shape, "%s_pooling%dd" % (_kind, _rank), pool_size=1, strides=2)
    simple(
        "%s_pooling1d_channels_first" % _kind,
        (2, 3, 7),
        "%s_pooling1d" % _kind,
        pool_size=2,
        strides=2,
        data_format="channels_first",
    )
    simple(
        "%s_pooling3d_channels_first" % _kind,
        (1, 2, 5, 4, 5),
        "%s_pooling3d" % _kind,
        pool_size=2,
        strides=1,
        data_format="channels_first",
    )


@case((2, 7, 6, 2))
def pooling_default_names_count_up(tf, layers, x, training):
    x = layers.max_pooling2d(layers.average_pooling2d(x, 2, 1), [2, 1], [1, 2])
    pool = layers.MaxPooling2D(2, 2, padding="same")
    return [pool(x), pool.name, pool.scope_name, str(pool.pool_size), str(pool.compute_output_shape(x.shape).as_list())]


# --- the user's own layers
@case((3, 4))
def own_layer_with_weights(tf, layers, x, training):
    class Scaled(layers.Layer):
        def build(self, input_shape):
            size = int(input_shape[-1])
            self.scale = self.add_weight("scale", [size], regularizer=tf.nn.l2_loss, initializer=tf.ones_initializer())
            self.shift = self.add_variable("shift", shape=[size])
            self.count = self.add_weight("count", [], initializer=tf.zeros_initializer(), trainable=False)
            self.steps = self.add_weight("steps", [2], dtype=tf.int32, trainable=False)

        def call(self, inputs):
            return inputs * self.scale + self.shift + self.count

    layer = Scaled()
    y = layer(layer(x))
    return [
        y,
        layer.name,
        layer.scope_name,
        len(layer.losses),
        len(layer.trainable_variables),
        len(layer.non_trainable_weights),
        layer.count_params(),
    ]


@case((3, 4), trains=True)
def own_layer_passes_training_on(tf, layers, x, training):
    class Block(layers.Layer):
        def __init__(self, **kwargs):
            super(Block, self).__init__(**kwargs)
            self.dense = layers.Dense(4, name="d")
            self.norm = layers.BatchNormalization(momentum=0.5)

        def call(self, inputs, training=False):
            return self.norm(self.dense(inputs))

    return Block(name="block")(x, training=training)


@case((3, 4))
def own_layer_with_losses_in_call(tf, layers, x, training):
    class Penalized(layers.Layer):
        def call(self, inputs):
            self.add_loss(0.1 * tf.reduce_sum(tf.square(inputs)), inputs=inputs)
            return 2.0 * inputs

    layer = Penalized()
    y = layer(x)
    return [y, len(layer.losses), len(layer.get_losses_for(x)), len(layer.get_losses_for(None))]


@case((3, 4))
def own_layer_uses_its_scope(tf, layers, x, training):
    class Scoped(layers.Layer):
        def call(self, inputs, scope=None):
            w = tf.get_variable("w", [4, 2], initializer=tf.ones_initializer())
            return layers.dense(tf.matmul(inputs, w), 2) + float(len(scope.name))

    return Scoped(name="mine")(x)


@case((3, 4))
def own_layer_of_several_inputs(tf, layers, x, training):
    class Joined(layers.Layer):
        def build(self, input_shapes):
            self.w = self.add_weight("w", [int(input_shapes[0][-1]), 2])

        def call(self, inputs, factor=1.0):
            return [tf.matmul(inputs[0] + factor * inputs[1], self.w), inputs[0]]

    return list(Joined()([x, 2.0 * x], factor=3.0))


@case((3, 4))
def own_dense_subclass(tf, layers, x, training):
    class Doubled(layers.Dense):
        def call(self, inputs):
            return 2.0 * super(Doubled, self).call(inputs)

    return Doubled(3, kernel_regularizer=tf.nn.l2_loss)(x)


@case((4, 8, 8, 2), trains=True)
def whole_net(tf, layers, x, training):
    decay = lambda v: 0.01 * tf.nn.l2_loss(v)  # noqa: E731
    with tf.variable_scope("net"):
        x = layers.conv2d(x, 4, 3, kernel_regularizer=decay)
        x = tf.nn.relu(layers.batch_normalization(x, training=training))
        x = layers.separable_conv2d(x, 5, 3, padding="same", depthwise_regularizer=decay)
        x = layers.max_pooling2d(x, 2, 2)
        x = layers.dropout(layers.flatten(x), 0.5, training=training)
        x = layers.dense(x, 6, activation=tf.nn.relu, kernel_regularizer=decay)
        x = layers.batch_normalization(x, training=training)
        return layers.dense(x, 3, name="logits")
