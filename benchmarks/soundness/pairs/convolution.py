"""Convolutions, pooling and resizing, as other operations and from Keras."""

from __future__ import annotations

from benchmarks.soundness.arrays import floats
from benchmarks.soundness.lazily import keras, tf
from benchmarks.soundness.pairs.pair import Topic, number, variable

PAIRS = Topic("convolution")

IMAGES = (2, 6, 6, 3)


def _weights(*shape):
    with tf.variable_scope("c"):
        return variable("kernel", *shape), variable("bias", shape[-1], initializer=tf.zeros_initializer())


@PAIRS.original(x=floats(*IMAGES))
def convolution(x):
    return tf.layers.conv2d(x, 4, 3, padding="same", name="c")


@PAIRS.rewrite(convolution)
def product_of_patches(x):
    kernel, bias = _weights(3, 3, 3, 4)
    patches = tf.extract_image_patches(x, [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME")
    y = tf.matmul(tf.reshape(patches, [72, 27]), tf.reshape(kernel, [27, 4]))
    return tf.reshape(y + bias, [2, 6, 6, 4])


@PAIRS.rewrite(convolution)
def sum_of_shifted_products(x):
    kernel, bias = _weights(3, 3, 3, 4)
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    places = [(i, j) for i in range(3) for j in range(3)]
    return tf.add_n([tf.tensordot(padded[:, i : i + 6, j : j + 6], kernel[i, j], 1) for i, j in places]) + bias


@PAIRS.rewrite(convolution)
def padded_by_hand(x):
    kernel, bias = _weights(3, 3, 3, 4)
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.nn.bias_add(tf.nn.conv2d(padded, kernel, [1, 1, 1, 1], "VALID"), bias)


@PAIRS.rewrite(convolution)
def channel_after_channel(x):
    kernel, bias = _weights(3, 3, 3, 4)
    parts = [tf.nn.conv2d(x[..., n : n + 1], kernel[:, :, n : n + 1], [1, 1, 1, 1], "SAME") for n in range(3)]
    return tf.add_n(parts) + bias


@PAIRS.rewrite(convolution)
def turned_and_turned_back(x):
    """Height and width exchanged, in the kernel too."""
    kernel, bias = _weights(3, 3, 3, 4)
    y = tf.nn.conv2d(tf.transpose(x, [0, 2, 1, 3]), tf.transpose(kernel, [1, 0, 2, 3]), [1, 1, 1, 1], "SAME")
    return tf.transpose(y, [0, 2, 1, 3]) + bias


@PAIRS.rewrite(convolution)
def cross_correlation_as_a_gradient(x):
    """A convolution is the gradient of the transposed one."""
    kernel, bias = _weights(3, 3, 3, 4)
    flipped = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
    return tf.nn.conv2d_transpose(x, flipped, [2, 6, 6, 4], [1, 1, 1, 1], "SAME") + bias


@PAIRS.rewrite(convolution, transforms=[("^c/kernel$", "transpose(3,2,0,1)")])
def kernel_of_channels_first(x):
    kernel, bias = _weights_of_channels_first()
    return tf.nn.conv2d(x, tf.transpose(kernel, [2, 3, 1, 0]), [1, 1, 1, 1], "SAME") + bias


def _weights_of_channels_first():
    with tf.variable_scope("c"):
        return variable("kernel", 4, 3, 3, 3), variable("bias", 4, initializer=tf.zeros_initializer())


@PAIRS.native(convolution)
def keras_convolution(x):
    return keras.layers.Conv2D(4, 3, padding="same", name="c")(x)


@PAIRS.native(convolution)
def keras_padded(x):
    return keras.layers.Conv2D(4, 3, name="c")(keras.layers.ZeroPadding2D(1)(x))


@PAIRS.native(convolution, transforms=[("^c/kernel$", "expand(0)")])
def keras_three_dimensions(x):
    y = keras.layers.Conv3D(4, (1, 3, 3), padding="same", name="c")(keras.ops.expand_dims(x, 1))
    return keras.ops.squeeze(y, 1)


@PAIRS.original(x=floats(2, 3, 6, 6))
def channels_first(x):
    y = tf.layers.conv2d(tf.transpose(x, [0, 2, 3, 1]), 4, 3, name="c")
    y = tf.layers.max_pooling2d(tf.nn.relu(y), 2, 2)
    return tf.transpose(y, [0, 3, 1, 2])


@PAIRS.native(channels_first)
def keras_permuted(x):
    y = keras.layers.Conv2D(4, 3, activation="relu", name="c")(keras.layers.Permute((2, 3, 1))(x))
    return keras.layers.Permute((3, 1, 2))(keras.layers.MaxPooling2D(2)(y))


@PAIRS.original(x=floats(*IMAGES))
def convolution_of_width_one(x):
    return tf.layers.conv2d(x, 5, 1, name="c")


@PAIRS.native(convolution_of_width_one, transforms=[("^c/kernel$", "squeeze(0,1)")])
def keras_dense(x):
    return keras.layers.Dense(5, name="c")(x)


@PAIRS.rewrite(convolution_of_width_one)
def flat_product(x):
    kernel, bias = _weights(1, 1, 3, 5)
    return tf.reshape(tf.matmul(tf.reshape(x, [72, 3]), kernel[0, 0]) + bias, [2, 6, 6, 5])


@PAIRS.original(x=floats(*IMAGES))
def strided(x):
    return tf.layers.conv2d(x, 4, 3, 2, name="c")


@PAIRS.rewrite(strided)
def every_second_of_all(x):
    return tf.layers.conv2d(x, 4, 3, name="c")[:, ::2, ::2]


@PAIRS.native(strided)
def keras_strided(x):
    return keras.layers.Conv2D(4, 3, strides=2, name="c")(x)


@PAIRS.original(x=floats(1, 8, 8, 3))
def dilated(x):
    return tf.layers.conv2d(x, 4, 3, dilation_rate=2, name="c")


@PAIRS.rewrite(dilated)
def kernel_with_gaps(x):
    kernel, bias = _weights(3, 3, 3, 4)
    rows = [kernel[0], tf.zeros_like(kernel[0]), kernel[1], tf.zeros_like(kernel[0]), kernel[2]]
    wide = tf.stack(rows)
    columns = [wide[:, 0], tf.zeros_like(wide[:, 0]), wide[:, 1], tf.zeros_like(wide[:, 0]), wide[:, 2]]
    return tf.nn.conv2d(x, tf.stack(columns, 1), [1, 1, 1, 1], "VALID") + bias


@PAIRS.rewrite(dilated)
def space_to_batch(x):
    kernel, bias = _weights(3, 3, 3, 4)
    y = tf.space_to_batch_nd(x, [2, 2], [[0, 0], [0, 0]])
    y = tf.nn.conv2d(y, kernel, [1, 1, 1, 1], "VALID") + bias
    return tf.batch_to_space_nd(y, [2, 2], [[0, 0], [0, 0]])


@PAIRS.native(dilated)
def keras_dilated(x):
    return keras.layers.Conv2D(4, 3, dilation_rate=2, name="c")(x)


@PAIRS.original(x=floats(*IMAGES))
def depthwise(x):
    with tf.variable_scope("c"):
        kernel = variable("kernel", 3, 3, 3, 1)
    return tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME")


@PAIRS.rewrite(depthwise)
def one_convolution_for_each_channel(x):
    with tf.variable_scope("c"):
        kernel = variable("kernel", 3, 3, 3, 1)
    parts = [tf.nn.conv2d(x[..., n : n + 1], kernel[:, :, n : n + 1], [1, 1, 1, 1], "SAME") for n in range(3)]
    return tf.concat(parts, 3)


@PAIRS.rewrite(depthwise)
def kernel_with_zeros_between_channels(x):
    with tf.variable_scope("c"):
        kernel = variable("kernel", 3, 3, 3, 1)
    return tf.nn.conv2d(x, kernel * tf.eye(3, dtype=x.dtype), [1, 1, 1, 1], "SAME")


@PAIRS.native(depthwise, rename=[("^c/kernel$", "c/kernel")], transforms=[("^c/kernel$", "transpose(0,1,3,2)")])
def keras_grouped(x):
    init = keras.initializers.RandomUniform(-((6 / 36) ** 0.5), (6 / 36) ** 0.5)
    return keras.layers.Conv2D(3, 3, padding="same", groups=3, use_bias=False, kernel_initializer=init, name="c")(x)


@PAIRS.native(depthwise)
def keras_depthwise(x):
    return keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="c")(x)


@PAIRS.original(x=floats(*IMAGES))
def separable(x):
    return tf.layers.separable_conv2d(x, 4, 3, depth_multiplier=2, name="c")


@PAIRS.rewrite(separable)
def depthwise_then_pointwise(x):
    with tf.variable_scope("c"):
        depthwise_kernel, pointwise = variable("depthwise_kernel", 3, 3, 3, 2), variable("pointwise_kernel", 1, 1, 6, 4)
        bias = variable("bias", 4, initializer=tf.zeros_initializer())
    y = tf.nn.depthwise_conv2d(x, depthwise_kernel, [1, 1, 1, 1], "VALID")
    return tf.tensordot(y, pointwise[0, 0], 1) + bias


@PAIRS.rewrite(separable)
def one_full_kernel(x):
    with tf.variable_scope("c"):
        depthwise_kernel, pointwise = variable("depthwise_kernel", 3, 3, 3, 2), variable("pointwise_kernel", 1, 1, 6, 4)
        bias = variable("bias", 4, initializer=tf.zeros_initializer())
    full = tf.einsum("ijcm,cmk->ijck", depthwise_kernel, tf.reshape(pointwise, [3, 2, 4]))
    return tf.nn.conv2d(x, full, [1, 1, 1, 1], "VALID") + bias


@PAIRS.native(separable)
def keras_separable(x):
    return keras.layers.SeparableConv2D(4, 3, depth_multiplier=2, name="c")(x)


@PAIRS.original(x=floats(2, 3, 3, 4))
def transposed(x):
    return tf.layers.conv2d_transpose(x, 3, 3, 2, "same", name="c")


@PAIRS.rewrite(transposed)
def gradient_of_a_convolution(x):
    with tf.variable_scope("c"):
        kernel, bias = variable("kernel", 3, 3, 3, 4), variable("bias", 3, initializer=tf.zeros_initializer())
    return tf.nn.conv2d_backprop_input([2, 6, 6, 3], kernel, x, [1, 2, 2, 1], "SAME") + bias


@PAIRS.rewrite(transposed)
def zeros_put_between(x):
    with tf.variable_scope("c"):
        kernel, bias = variable("kernel", 3, 3, 3, 4), variable("bias", 3, initializer=tf.zeros_initializer())
    wide = tf.reshape(tf.stack([x, tf.zeros_like(x)], 3), [2, 3, 6, 4])
    wide = tf.reshape(tf.stack([wide, tf.zeros_like(wide)], 2), [2, 6, 6, 4])
    padded = tf.pad(wide, [[0, 0], [2, 0], [2, 0], [0, 0]])
    flipped = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
    return tf.nn.conv2d(padded, flipped, [1, 1, 1, 1], "VALID") + bias


@PAIRS.native(transposed)
def keras_transposed(x):
    return keras.layers.Conv2DTranspose(3, 3, 2, "same", name="c")(x)


@PAIRS.original(x=floats(2, 8, 3))
def causal(x):
    y = tf.pad(x, [[0, 0], [4, 0], [0, 0]])
    return tf.layers.conv1d(y, 4, 3, dilation_rate=2, name="c")


@PAIRS.native(causal)
def keras_causal(x):
    return keras.layers.Conv1D(4, 3, padding="causal", dilation_rate=2, name="c")(x)


@PAIRS.rewrite(causal)
def sum_of_delays(x):
    kernel, bias = _weights(3, 3, 4)
    delayed = [tf.pad(x, [[0, 0], [n, 0], [0, 0]])[:, :8] for n in (4, 2, 0)]
    return tf.add_n([tf.tensordot(y, kernel[n], 1) for n, y in enumerate(delayed)]) + bias


@PAIRS.original(x=floats(*IMAGES))
def pooled(x):
    y = x * variable("w", 3)
    return tf.nn.max_pool(y, [1, 2, 2, 1], [1, 2, 2, 1], "VALID"), tf.nn.avg_pool(
        y, [1, 2, 2, 1], [1, 2, 2, 1], "VALID"
    )


@PAIRS.rewrite(pooled)
def reduced(x):
    y = tf.reshape(x * variable("w", 3), [2, 3, 2, 3, 2, 3])
    return tf.reduce_max(y, [2, 4]), tf.reduce_mean(y, [2, 4])


@PAIRS.rewrite(pooled)
def slices_of_the_image(x):
    y = x * variable("w", 3)
    a, b, c, d = y[:, ::2, ::2], y[:, ::2, 1::2], y[:, 1::2, ::2], y[:, 1::2, 1::2]
    return tf.maximum(tf.maximum(a, b), tf.maximum(c, d)), 0.25 * (a + b + c + d)


@PAIRS.original(x=floats(*IMAGES))
def averaged_everywhere(x):
    y = tf.layers.conv2d(x, 4, 3, name="c")
    return tf.squeeze(tf.layers.average_pooling2d(y, 4, 1), [1, 2])


@PAIRS.native(averaged_everywhere)
def keras_global_average(x):
    return keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, name="c")(x))


@PAIRS.rewrite(averaged_everywhere)
def flat_mean(x):
    return tf.reduce_mean(tf.reshape(tf.layers.conv2d(x, 4, 3, name="c"), [2, 16, 4]), 1)


@PAIRS.original(x=floats(*IMAGES))
def upsampled(x):
    y = tf.layers.conv2d(x, 4, 3, name="c")
    return tf.image.resize_nearest_neighbor(y, [8, 8]) if y.dtype == tf.float32 else _doubled(y)


def _doubled(y):
    return tf.batch_to_space_nd(tf.tile(y, [4, 1, 1, 1]), [2, 2], [[0, 0], [0, 0]])


@PAIRS.rewrite(upsampled)
def repeated(x):
    y = tf.layers.conv2d(x, 4, 3, name="c")
    return tf.repeat(tf.repeat(y, 2, 1), 2, 2)


@PAIRS.rewrite(upsampled)
def tiled(x):
    y = tf.layers.conv2d(x, 4, 3, name="c")
    return tf.reshape(tf.tile(y[:, :, None, :, None], [1, 1, 2, 1, 2, 1]), [2, 8, 8, 4])


@PAIRS.native(upsampled)
def keras_upsampling(x):
    return keras.layers.UpSampling2D()(keras.layers.Conv2D(4, 3, name="c")(x))


@PAIRS.original(x=floats(*IMAGES))
def shuffled_pixels(x):
    return tf.depth_to_space(tf.layers.conv2d(x, 8, 3, name="c"), 2)


@PAIRS.rewrite(shuffled_pixels)
def reshaped_and_transposed(x):
    y = tf.reshape(tf.layers.conv2d(x, 8, 3, name="c"), [2, 4, 4, 2, 2, 2])
    return tf.reshape(tf.transpose(y, [0, 1, 3, 2, 4, 5]), [2, 8, 8, 2])


@PAIRS.original(x=floats(*IMAGES))
def reflected(x):
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT")
    return tf.layers.conv2d(padded, 4, 3, name="c")


@PAIRS.rewrite(reflected)
def joined_with_its_edges(x):
    padded = tf.concat([x[:, 1:2], x, x[:, 4:5]], 1)
    padded = tf.concat([padded[:, :, 1:2], padded, padded[:, :, 4:5]], 2)
    return tf.layers.conv2d(padded, 4, 3, name="c")


@PAIRS.original(x=floats(*IMAGES))
def blurred(x):
    kernel = tf.tile(number([[1, 2, 1], [2, 4, 2], [1, 2, 1]])[:, :, None, None] / 16.0, [1, 1, 3, 1])
    return tf.nn.depthwise_conv2d(x * variable("w", 3), kernel, [1, 1, 1, 1], "VALID")


@PAIRS.rewrite(blurred)
def blurred_along_each_axis(x):
    y = x * variable("w", 3)
    y = 0.25 * y[:, :-2] + 0.5 * y[:, 1:-1] + 0.25 * y[:, 2:]
    return 0.25 * y[:, :, :-2] + 0.5 * y[:, :, 1:-1] + 0.25 * y[:, :, 2:]
