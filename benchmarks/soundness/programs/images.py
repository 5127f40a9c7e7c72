"""Convolutions, pooling, resizing and other operations on images."""

from __future__ import annotations

import numpy as np
from benchmarks.soundness.arrays import floats
from benchmarks.soundness.lazily import slim, tf
from benchmarks.soundness.programs.program import Group

PROGRAMS = Group("images")
program = PROGRAMS.program

IMAGES = (2, 6, 6, 3)


@program(x=floats(*IMAGES))
def convolutions_of_nn(x):
    w = tf.get_variable("w", [3, 3, 3, 4])
    return (
        tf.nn.conv2d(x, w, [1, 2, 2, 1], "SAME"),
        tf.nn.conv2d(x, w, [1, 1, 1, 1], "VALID", dilations=[1, 2, 2, 1]),
        tf.nn.atrous_conv2d(x, w, 2, "SAME"),
        tf.nn.convolution(x, w, "SAME"),
    )


@program(x=floats(*IMAGES))
def depthwise_and_separable(x):
    depthwise = tf.get_variable("depthwise", [3, 3, 3, 2])
    pointwise = tf.get_variable("pointwise", [1, 1, 6, 4])
    one = tf.nn.depthwise_conv2d(x, depthwise, [1, 1, 1, 1], "SAME")
    return one, tf.nn.separable_conv2d(x, depthwise, pointwise, [1, 2, 2, 1], "VALID")


@program(x=floats(*IMAGES))
def transposed_convolutions(x):
    w = tf.get_variable("w", [3, 3, 4, 3])
    return tf.nn.conv2d_transpose(x, w, [2, 12, 12, 4], [1, 2, 2, 1]), tf.layers.conv2d_transpose(x, 2, 4, 2, "same")


@program(x=floats(2, 8, 3))
def convolutions_of_one_dimension(x):
    return tf.nn.conv1d(x, tf.get_variable("w", [3, 3, 4]), 2, "SAME"), tf.layers.conv1d(x, 2, 3, dilation_rate=2)


@program(x=floats(1, 4, 4, 4, 2))
def convolutions_of_three_dimensions(x):
    w = tf.get_variable("w", [2, 2, 2, 2, 3])
    return tf.nn.conv3d(x, w, [1, 1, 1, 1, 1], "SAME"), tf.nn.max_pool3d(x, [1, 2, 2, 2, 1], [1, 2, 2, 2, 1], "VALID")


@program(x=floats(*IMAGES))
def pooling_of_nn(x):
    y = x * tf.get_variable("w", [3])
    return (
        tf.nn.max_pool(y, [1, 3, 3, 1], [1, 2, 2, 1], "SAME"),
        tf.nn.avg_pool(y, [1, 2, 2, 1], [1, 2, 2, 1], "VALID"),
        tf.nn.pool(y, [2, 2], "AVG", "SAME"),
        tf.reduce_mean(y, [1, 2]),
    )


@program(x=floats(*IMAGES))
def pooling_with_places(x):
    values, places = tf.nn.max_pool_with_argmax(x * tf.get_variable("w", [3]), [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
    return tf.scatter_nd(tf.reshape(places, [-1, 1]), tf.reshape(values, [-1]), [108])


@program(x=floats(*IMAGES))
def dilation_and_erosion(x):
    w = tf.get_variable("w", [2, 2, 3])
    return tf.nn.dilation2d(x, w, [1, 1, 1, 1], [1, 1, 1, 1], "SAME"), tf.nn.erosion2d(
        x, w, [1, 1, 1, 1], [1, 1, 1, 1], "VALID"
    )


@program(x=floats(*IMAGES))
def resizing(x):
    y = x * tf.get_variable("w", [3])
    return [
        tf.image.resize_bilinear(y, [9, 7]),
        tf.image.resize_bilinear(y, [11, 11], align_corners=True),
        tf.image.resize_nearest_neighbor(y, [12, 12]),
        tf.image.resize_bicubic(y, [4, 8]),
        tf.image.resize_images(y, [3, 3], method=tf.image.ResizeMethod.AREA),
    ]


@program(x=floats(*IMAGES))
def turning_and_cropping(x):
    y = x * tf.get_variable("w", [3])
    return (
        tf.image.flip_left_right(y),
        tf.image.rot90(y),
        tf.image.transpose_image(y),
        tf.image.central_crop(y, 0.5),
        tf.image.resize_image_with_crop_or_pad(y, 4, 8),
        tf.image.crop_to_bounding_box(y, 1, 2, 3, 3),
    )


@program(x=floats(*IMAGES), boxes=np.float32([[0.1, 0.1, 0.8, 0.9], [0.0, 0.3, 1.0, 0.7]]))
def crops_of_boxes(x, boxes):
    return tf.image.crop_and_resize(x * tf.get_variable("w", [3]), boxes, [1, 0], [3, 4])


@program(x=floats(*IMAGES, low=0.0))
def colours(x):
    y = x * tf.get_variable("w", [3], initializer=tf.ones_initializer())
    return (
        tf.image.rgb_to_grayscale(y),
        tf.image.rgb_to_hsv(x),
        tf.image.adjust_contrast(y, 1.5),
        tf.image.adjust_brightness(y, 0.1),
        tf.map_fn(tf.image.per_image_standardization, y),
    )


@program(x=floats(*IMAGES, low=0.0), y=floats(*IMAGES, low=0.0, seed=2))
def likeness_of_images(x, y):
    y = y * tf.get_variable("w", [3], initializer=tf.ones_initializer())
    return tf.image.psnr(x, y, 1.0), tf.image.total_variation(y), tf.image.sobel_edges(y)


@program(x=floats(*IMAGES))
def patches(x):
    rows = tf.extract_image_patches(x, [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], "VALID")
    return tf.tensordot(rows, tf.get_variable("w", [27, 4]), 1)


@program(boxes=floats(5, 4, low=0.0), scores=floats(5))
def suppression(boxes, scores):
    corners = tf.concat([boxes[:, :2] * 0.4, boxes[:, 2:] * 0.4 + 0.5], 1)
    kept = tf.image.non_max_suppression(corners, scores, 3, iou_threshold=0.6)
    return tf.gather(corners, kept) * tf.get_variable("w", [4]), kept


@program(x=floats(2, 3, 6, 6))
def channels_first_by_transposing(x):
    y = tf.layers.conv2d(tf.transpose(x, [0, 2, 3, 1]), 4, 3, activation=tf.nn.relu)
    return tf.transpose(tf.layers.max_pooling2d(y, 2, 2), [0, 3, 1, 2])


@program(x=floats(*IMAGES))
def blurred(x):
    kernel = tf.constant(np.outer([1, 2, 1], [1, 2, 1]).astype("float32") / 16)
    kernel = tf.tile(kernel[:, :, None, None], [1, 1, 3, 1])
    return tf.nn.depthwise_conv2d(x * tf.get_variable("w", [3]), kernel, [1, 1, 1, 1], "SAME")


@program(x=floats(*IMAGES))
def coordinates_as_channels(x):
    rows = tf.tile(tf.linspace(-1.0, 1.0, 6)[None, :, None, None], [tf.shape(x)[0], 1, 6, 1])
    return tf.layers.conv2d(tf.concat([x, rows, tf.transpose(rows, [0, 2, 1, 3])], 3), 4, 1)


@program(x=floats(*IMAGES))
def spatial_softmax(x):
    y = tf.layers.conv2d(x, 4, 3)
    weights = tf.nn.softmax(tf.reshape(tf.transpose(y, [0, 3, 1, 2]), [-1, 16]))
    where = tf.reshape(tf.tile(tf.lin_space(-1.0, 1.0, 4)[:, None], [1, 4]), [1, 16])
    return tf.reshape(tf.reduce_sum(weights * where, 1), [-1, 4])


@program(x=floats(*IMAGES), theta=floats(2, 6))
def spatial_transformer(x, theta):
    theta = tf.reshape(theta * tf.get_variable("w", [6]), [2, 2, 3])
    rows, columns = tf.meshgrid(tf.linspace(-0.9, 0.9, 6), tf.linspace(-0.9, 0.9, 6))
    grid = tf.stack([tf.reshape(rows, [-1]), tf.reshape(columns, [-1]), tf.ones([36])])
    place = 2.5 * (tf.matmul(theta, tf.tile(grid[None], [2, 1, 1])) + 1.0)
    low = tf.clip_by_value(tf.floor(place), 0.0, 4.0)
    fraction = place - low
    batch = tf.tile(tf.range(2)[:, None], [1, 36])

    def at(i, j):
        index = tf.stack([batch, tf.cast(low[:, 1], tf.int32) + i, tf.cast(low[:, 0], tf.int32) + j], -1)
        weights = (fraction[:, 1] if i else 1 - fraction[:, 1]) * (fraction[:, 0] if j else 1 - fraction[:, 0])
        return tf.gather_nd(x, index) * weights[..., None]

    return at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)


@program(x=floats(*IMAGES))
def slim_arg_scopes(x):
    with slim.arg_scope([slim.conv2d], padding="VALID", activation_fn=tf.nn.elu):
        with slim.arg_scope([slim.conv2d], weights_initializer=tf.truncated_normal_initializer(stddev=0.2)):
            x = slim.conv2d(x, 4, 3, scope="a")
        return slim.conv2d(x, 2, 1, activation_fn=None, scope="b")


@program(x=floats(*IMAGES))
def slim_end_points(x):
    ends = {}
    with tf.variable_scope("net"):
        x = ends["conv"] = slim.conv2d(x, 4, 3)
        x = ends["pool"] = slim.max_pool2d(x, 2)
        x = ends["logits"] = slim.fully_connected(slim.flatten(x), 3, activation_fn=None)
    ends["predictions"] = slim.softmax(x)
    return x, ends
