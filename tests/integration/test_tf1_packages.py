"""Packages of TF1 code that are given TensorFlow 1: what they import, what is gone, and who is left alone."""

import importlib
import inspect
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from lockstep import tf1
from lockstep.tf1 import enabling


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes modules of a package `old`, and makes the package importable; their names are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "__init__.py").write_text("")

    def write(**modules):
        for name, text in modules.items():
            (tmp_path / "old" / f"{name}.py").write_text(textwrap.dedent(text))

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "old"]:
        del sys.modules[name]


class Model(keras.layers.Layer):
    def __init__(self, forward):
        super().__init__()
        self.forward = forward

    @tf1.track_tf1_style_variables
    def call(self, x):
        return self.forward(x)


def test_a_package_that_says_import_tensorflow_runs_and_everybody_elses_tensorflow_stays(package):
    package(
        model="""
        import tensorflow as tf
        from tensorflow.contrib import layers
        from tensorflow.python.ops import array_ops

        tf.disable_v2_behavior()
        tf.compat.v1.disable_eager_execution()

        def forward(x):
            import tensorflow.contrib.slim as slim  # within a function, too
            with tf.variable_scope("net"):
                net = slim.fully_connected(x, 4, scope="first")
                net = tf.layers.dense(tf.contrib.layers.layer_norm(net), 2, name="second")
                return array_ops.identity(layers.flatten(net))
        """,
    )
    tf1.give_tensorflow_1_to("old")
    from old import model

    layer = Model(model.forward)
    assert layer(tf.ones([3, 5])).shape == (3, 2)
    assert [v.name for v in layer.trainable_variables] == [
        "net/first/weights:0", "net/first/biases:0", "net/LayerNorm/beta:0", "net/LayerNorm/gamma:0",
        "net/second/kernel:0", "net/second/bias:0",
    ]  # fmt: skip
    assert tf.executing_eagerly()
    assert not hasattr(tf, "variable_scope")
    assert sys.modules["tensorflow"] is tf


def test_every_form_of_import_finds_tensorflow_1(package):
    package(
        forms="""
        import tensorflow
        import tensorflow as a
        import tensorflow.compat.v1 as b
        import tensorflow.contrib.layers as layers
        import tensorflow.contrib.slim
        from tensorflow import compat, contrib, variable_scope
        from tensorflow.compat import v1 as c
        from tensorflow.compat.v1 import get_variable
        from tensorflow.contrib import rnn, framework as contrib_framework
        from tensorflow.contrib.eager.python import tfe
        from tensorflow.contrib.framework import arg_scope, nest
        from tensorflow.contrib.layers.python.layers import initializers, utils
        from tensorflow.contrib.slim.nets import resnet_v1
        from tensorflow.contrib.slim.python.slim.nets import vgg
        from tensorflow.python import tf2
        from tensorflow.python.ops import rnn_cell_impl
        from tensorflow.python.ops.rnn import dynamic_rnn, rnn_cell_impl as again
        from tensorflow.python.util.nest import is_sequence
        """,
    )
    import tf_slim
    from tf_slim.nets import resnet_v1, vgg

    tf1.give_tensorflow_1_to("old")
    from old import forms

    assert forms.a is forms.b is forms.c is forms.tensorflow is forms.compat.v1
    assert forms.variable_scope is tf.compat.v1.variable_scope
    assert forms.get_variable is tf.compat.v1.get_variable
    assert forms.layers.fully_connected is tf_slim.fully_connected
    assert forms.initializers.xavier_initializer is tf_slim.xavier_initializer
    assert forms.utils.smart_cond is tf_slim.layers.utils.smart_cond
    assert forms.resnet_v1 is resnet_v1
    assert forms.vgg is vgg
    assert forms.arg_scope is forms.contrib_framework.arg_scope is tf_slim.arg_scope
    assert forms.contrib_framework.get_or_create_global_step is tf_slim.get_or_create_global_step
    assert forms.rnn.LSTMCell is forms.rnn_cell_impl.LSTMCell is forms.again.LSTMCell is tf1.rnn_cell.LSTMCell
    assert forms.rnn.static_rnn is tf.compat.v1.nn.static_rnn
    assert forms.tfe.defun is tf.function
    assert forms.is_sequence([1])
    assert forms.nest.is_sequence([1])
    assert not forms.tf2.enabled()  # or it would take Keras's layers, which nobody would own


def test_what_is_gone_may_be_imported_and_named_and_its_use_is_told(package):
    package(
        model="""
        import tensorflow as tf
        from tensorflow.contrib import seq2seq
        from tensorflow.contrib.rnn import LSTMBlockCell

        class Helper(seq2seq.Helper):
            pass

        def forward(x):
            return LSTMBlockCell(3)(x)
        """,
    )
    tf1.give_tensorflow_1_to("old")
    from old import model

    with pytest.raises(
        tf1.GoneFromTensorFlowError, match=r"^tf\.contrib\.rnn\.LSTMBlockCell is gone.*framework, layers"
    ):
        model.forward(tf.ones([1, 2]))
    with pytest.raises(tf1.GoneFromTensorFlowError, match=r"^tf\.contrib\.seq2seq\.Helper is gone|Helper is gone"):
        model.Helper()


def test_a_name_that_tensorflow_never_had_is_an_error_at_once(package):
    package(model="from tensorflow import no_such_name", other="import tensorflow.compat.v9 as tf")
    tf1.give_tensorflow_1_to("old")
    with pytest.raises(ImportError, match="no_such_name"):
        from old import model  # noqa: F401
    with pytest.raises(ImportError, match="v9"):
        from old import other  # noqa: F401


@pytest.mark.filterwarnings("ignore:inspect.getargspec:DeprecationWarning")  # Python 3.10 has it still, and warns
def test_names_that_python_and_numpy_took_away(package):
    package(
        model="""
        import collections
        import inspect
        import numpy
        import numpy as np
        import numpy.linalg as linalg
        from collections import Mapping, OrderedDict

        kinds = [np.bool, np.int, np.float, np.object, np.float32, linalg.norm]
        answers = [isinstance([], collections.Iterable), issubclass(dict, Mapping), numpy.float is float]
        arguments = inspect.getargspec(lambda a, b=1: a).args
        """,
    )
    tf1.give_tensorflow_1_to("old")
    from old import model

    assert model.kinds[:4] == [bool, int, float, object] or model.kinds[0] is np.bool_
    assert model.kinds[4:] == [np.float32, np.linalg.norm]
    assert model.answers == [True, True, True]
    assert model.arguments == ["a", "b"]
    assert not hasattr(np, "float")


def test_a_package_that_was_imported_before_is_refused(tmp_path, monkeypatch):
    (tmp_path / "elder.py").write_text("import tensorflow as tf")
    monkeypatch.syspath_prepend(str(tmp_path))
    import elder  # noqa: F401

    told = r"elder has been imported already.*give_tensorflow_1_to\('elder'\)"
    with pytest.raises(tf1.AlreadyImportedError, match=told):
        tf1.give_tensorflow_1_to("elder")
    del sys.modules["elder"]


def test_another_file_of_the_same_name_keeps_todays_tensorflow(tmp_path, monkeypatch):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "legacy.py").write_text("import tensorflow as tf")
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    tf1.give_tensorflow_1_to("legacy")
    import legacy

    assert legacy.tf is not tf
    del sys.modules["legacy"]
    monkeypatch.syspath_prepend(str(tmp_path / "second"))
    import legacy

    assert legacy.tf is tf
    del sys.modules["legacy"]


def test_a_named_module_is_still_a_module_like_others(package):
    package(model="import tensorflow as tf\n\n\ndef forward(x):\n    return tf.square(x)\n")
    tf1.give_tensorflow_1_to("old")
    from old import model

    assert inspect.getsource(model.forward) == "def forward(x):\n    return tf.square(x)\n"
    assert importlib.reload(model).tf.variable_scope
    assert model.__spec__.loader.is_package("old.model") is False


def test_a_package_may_be_named_twice(package):
    package(model="import tensorflow as tf")
    tf1.give_tensorflow_1_to("old")
    from old import model

    tf1.give_tensorflow_1_to("old")
    assert model.tf.variable_scope


def test_sizes_have_a_value_while_tf1_code_runs_and_nowhere_else():
    def forward(x):
        sizes = [size.value for size in x.get_shape()]
        assert sizes == [3, 4, 5]
        assert (x.shape[1] * x.shape[2]).value == 20
        assert (1 + x.shape[1] // 2 - x.shape[0] % 2).value == 2
        assert [size.value for size in x.shape[1:]] == [4, 5]
        net = tf.reshape(x, [x.shape[0], x.shape[1] * x.shape[2]])
        return tf.matmul(net, tf.compat.v1.get_variable("w", [net.shape[1].value, 2]))

    layer = Model(forward)
    x = tf.ones([3, 4, 5])
    assert layer(x).shape == (3, 2)
    assert tf.function(layer)(x).shape == (3, 2)
    assert type(x.shape[1]) is int
    assert all(type(size) is int for size in x.shape)


def test_variables_and_tensors_may_be_keys_while_tf1_code_runs_and_nowhere_else():
    def forward(x):
        known = {tf.compat.v1.get_variable("a", []): "a", tf.compat.v1.get_variable("b", []): "b", x: "x"}
        assert known[x] == "x"
        assert [known[tf.compat.v1.get_variable(name, [])] for name in "ab"] == ["a", "b"]
        assert tf.identity(x) not in known
        return x

    layer, x = Model(forward), tf.ones([2])
    layer(x)
    tf.function(layer)(x)
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)
    with pytest.raises(TypeError, match="unhashable"):
        hash(tf.Variable(1.0))


def test_disable_takes_back_what_was_put_into_tensorflows_classes():
    enabling.disable()
    before = [tf.TensorShape.__getitem__, tf.TensorShape.__iter__, tf.Variable.__hash__, tf.Tensor.__hash__]
    tf1.enable()
    assert tf.TensorShape.__getitem__ is not before[0]
    tf1.disable()
    assert before == [
        tf.TensorShape.__getitem__, tf.TensorShape.__iter__, tf.Variable.__hash__, tf.Tensor.__hash__
    ]  # fmt: skip
    tf1.enable()
