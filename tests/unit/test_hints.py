"""Messages that TF1 code meets again and again, as TensorFlow words them, and the advice that follows them."""

import importlib

import pytest

from lockstep.common.hints import hint


def message_of(action):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each library's own class
        action()
    return str(caught.value)


def a_graphs_placeholder():
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.placeholder("float32") + 1)


def a_variable_made_twice():
    import tensorflow as tf

    with tf.Graph().as_default():
        for _ in range(2):
            tf.compat.v1.get_variable("w", [])


def forward(inputs):
    return inputs


def said_by_tensorflow_1_15(message):
    raise TypeError(message)  # as tf.pad(inputs, ...) says it there


def an_eager_dict_for_a_tensor():
    import tensorflow as tf

    tf.square({"image": tf.ones([2, 2])})


def tensorflow_attribute(path):
    def get():
        thing = importlib.import_module("tensorflow")
        for name in path.split("."):
            thing = getattr(thing, name)

    return get


@pytest.mark.parametrize(
    ("action", "advice"),
    [
        (tensorflow_attribute("variable_scope"), "import tensorflow.compat.v1 as tf"),
        (tensorflow_attribute("train.AdamOptimizer"), "import tensorflow.compat.v1 as tf"),
        (tensorflow_attribute("contrib"), "tf_slim"),
        (tensorflow_attribute("compat.v1.contrib"), "tf_slim"),
        (lambda: importlib.import_module("tensorflow.contrib"), "tf_slim"),
        (a_graphs_placeholder, "take them from there"),
        (a_variable_made_twice, "track_tf1_style_variables"),
        (tensorflow_attribute("compat.v1.no_such_name"), None),
        (lambda: forward(0, training=True), "forward(inputs, training=...)"),
        (lambda: {"image": 0}.get_shape(), "inputs['image']"),
        (lambda: said_by_tensorflow_1_15("List of Tensors when single Tensor expected"), "inputs['image']"),
        (an_eager_dict_for_a_tensor, "inputs['image']"),
        (lambda: 1 / 0, None),
    ],
)
def test_what_tensorflow_says_is_followed_by_advice(action, advice):
    said = hint(message_of(action))
    assert (advice in said) if advice else said == ""
