"""TF1 packages that nobody here wrote, unmodified: in TensorFlow 1.15, and through the shim on today's TensorFlow.

Each package is installed without its dependencies into the folder of a migration, so that both sides run the very same
files. What it imports for other things than the model (plots, games, downloads) has a placeholder.
"""

import json
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lockstep.environments.uv import find_uv

pytestmark = pytest.mark.corpus
PAGE = Path(__file__).parents[2] / "docs" / "design" / "real_code.md"
STEPS = ["variables-created-once", "variables-match", "inference-fixed", "inference-random", "training-random"]

PLACEHOLDERS = '''
"""Modules in place of packages that the code imports and the model does not use."""

import sys
import types


class Kind(type):
    def __getattr__(cls, name):
        return kind(name)


def kind(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Kind(name, (), {"__init__": lambda self, *_, **__: None, "__getattr__": lambda self, name: kind(name)})


class Module(types.ModuleType):
    __path__ = []
    __version__ = "1.0.0"

    def __getattr__(self, name):
        return sys.modules.get(self.__name__ + "." + name) or kind(name)


def put(*names):
    for name in names:
        sys.modules[name] = Module(name)
'''

MIGRATED = """
import keras

from lockstep import tf1

tf1.give_tensorflow_1_to({packages})
from legacy_model import forward


class Model(keras.Model):
    @tf1.track_tf1_style_variables
    def call(self, inputs, training=False):
        return forward(inputs, training)


def build():
    return Model()
"""

CONFIGURATION = """
gradients = {gradients}

[reference]
runtime = "tf1"
entry = "legacy_model.py:forward"
python = "3.7"
requirements = ["tensorflow==1.15.5", "protobuf<3.21"]

[candidate]
runtime = "keras"
entry = "migrated_model.py:build"
"""


@dataclass(frozen=True)
class Case:
    """A model of a package.

    Attributes:
        requirements: what is installed, without dependencies.
        package: the name it is imported by.
        model: `forward`, and what it imports.
        inputs: name -> array.
        placeholders: modules that the package imports and the model does not use.
        gradients: whether gradients are compared too.
    """

    requirements: tuple[str, ...]
    package: str
    model: str
    inputs: dict[str, np.ndarray]
    placeholders: tuple[str, ...] = ()
    gradients: bool = True

    def write(self, folder: Path) -> Path:
        """Installs the package and writes the migration; returns its configuration."""
        install(folder, *self.requirements)
        (folder / "placeholders.py").write_text(PLACEHOLDERS)
        names = ", ".join(f'"{name}"' for name in self.placeholders)
        put = f"import placeholders\n\nplaceholders.put({names})\n" if names else ""
        (folder / "legacy_model.py").write_text(put + textwrap.dedent(self.model))
        packages = f'"legacy_model", "{self.package}"'
        (folder / "migrated_model.py").write_text(MIGRATED.format(packages=packages))
        text = CONFIGURATION.format(gradients=str(self.gradients).lower())
        for name, array in self.inputs.items():
            np.save(folder / name, array)
            text += f'\n[inputs.{name}]\npath = "{name}.npy"\n'
        (folder / "lockstep.toml").write_text(text)
        return folder / "lockstep.toml"


def install(folder, *requirements):
    command = [str(find_uv()), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    done = subprocess.run(
        [*command, "--target", str(folder), *requirements], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr


def check(configuration):
    command = [sys.executable, "-m", "lockstep", "check", str(configuration), "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode in {0, 1}, done.stderr
    return json.loads(done.stdout)


def normal(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def numbers(below, *shape, dtype=np.int32):
    return np.random.default_rng(below).integers(0, below, shape).astype(dtype)


def padded(sequences, lengths):
    for sequence, length in zip(sequences, lengths, strict=True):
        sequence[length:] = 0
    return sequences


CASES = {
    "bert-tensorflow 1.0.4": Case(
        ("bert-tensorflow==1.0.4",),
        "bert",
        """
        import tensorflow as tf
        from bert import modeling


        def forward(inputs, training):
            config = modeling.BertConfig(
                vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                max_position_embeddings=16,
            )
            model = modeling.BertModel(
                config, is_training=training, input_ids=inputs["ids"], input_mask=inputs["mask"],
                token_type_ids=inputs["segments"],
            )
            return {"sequence": model.get_sequence_output(), "pooled": model.get_pooled_output()}
        """,
        {
            "ids": numbers(50, 3, 12),
            "mask": padded(np.ones((3, 12), np.int32), (12, 8, 5)),
            "segments": numbers(2, 3, 12),
        },
    ),
    "facenet 1.0.5": Case(
        ("facenet==1.0.5",),
        "facenet",
        """
        import tensorflow as tf
        import tensorflow.contrib.slim as slim
        from facenet.src.models import inception_resnet_v1 as network


        def forward(inputs, training):
            norm = {"decay": 0.995, "epsilon": 0.001, "updates_collections": None, "is_training": training}
            with slim.arg_scope([slim.conv2d], weights_regularizer=slim.l2_regularizer(5e-4),
                                normalizer_fn=slim.batch_norm, normalizer_params=norm):
                with slim.arg_scope([slim.conv2d, slim.max_pool2d], stride=1, padding="SAME"):
                    net = slim.conv2d(inputs["image"], 32, 3, scope="stem")
                    net = network.block35(net, scale=0.17)
                    net = network.reduction_a(net, 8, 8, 16, 16)
                    net = network.block17(net, scale=0.10)
                    net = network.block8(net, scale=0.20)
            return tf.nn.l2_normalize(slim.flatten(net), 1, 1e-10)
        """,
        {"image": normal(4, 9, 9, 3)},
        gradients=False,
    ),
    "gpt-2-simple 0.8.1": Case(
        ("gpt-2-simple==0.8.1",),
        "gpt_2_simple",
        """
        from gpt_2_simple.src import model


        def forward(inputs, training):
            hparams = model.HParams(n_vocab=60, n_ctx=16, n_embd=32, n_head=4, n_layer=2)
            results = model.model(hparams, inputs["tokens"])
            return {"logits": results["logits"], "present": results["present"]}
        """,
        {"tokens": numbers(60, 3, 12)},
        ("tqdm", "regex", "toposort", "requests"),
    ),
    "stable-baselines 2.10.2": Case(
        ("stable-baselines==2.10.2",),
        "stable_baselines",
        """
        import numpy as np
        import tensorflow as tf
        from stable_baselines.common import policies
        from stable_baselines.common.tf_layers import linear, lstm
        from stable_baselines.common.tf_util import batch_to_seq, seq_to_batch


        def forward(inputs, training):
            with tf.variable_scope("model"):
                features = policies.nature_cnn(tf.cast(inputs["image"], tf.float32) / 255.0)
                sequence, masks = batch_to_seq(features, 2, 3), batch_to_seq(inputs["masks"], 2, 3)
                outputs, state = lstm(sequence, masks, inputs["state"], "lstm1", n_hidden=8, layer_norm=True)
                hidden = seq_to_batch(outputs)
                policy, value = policies.mlp_extractor(hidden, [16, dict(vf=[8], pi=[8])], tf.tanh)
                return {"policy": linear(policy, "pi", 4), "value": linear(value, "vf", 1), "state": state}
        """,
        {
            "image": numbers(256, 6, 44, 44, 4, dtype=np.uint8),
            "masks": np.array([0, 0, 1, 0, 0, 0], np.float32),
            "state": normal(2, 16),
        },
        (
            *("gym", "gym.spaces", "gym.wrappers", "gym.wrappers.monitoring", "cloudpickle", "cv2"),
            *("matplotlib", "matplotlib.pyplot", "pandas", "scipy", "scipy.signal"),
        ),
    ),
    "tensor2tensor 1.15.7": Case(
        ("tensor2tensor==1.15.7",),
        "tensor2tensor",
        """
        import tensorflow.compat.v1 as tf
        from tensor2tensor.layers import common_attention, common_layers


        class Settings:
            layer_preprocess_sequence = "n"
            layer_postprocess_sequence = "da"
            layer_prepostprocess_dropout = 0.0
            layer_prepostprocess_dropout_broadcast_dims = ""
            norm_type = "layer"
            hidden_size = 16
            norm_epsilon = 1e-6


        def forward(inputs, training):
            rate = 0.1 if training else 0.0
            bias = common_attention.attention_bias_ignore_padding(
                common_attention.embedding_to_padding(inputs["x"])
            )
            x = common_attention.add_timing_signal_1d(inputs["x"])
            for layer in range(2):
                with tf.variable_scope("layer_%d" % layer):
                    with tf.variable_scope("self_attention"):
                        before = common_layers.layer_preprocess(x, Settings)
                        y = common_attention.multihead_attention(before, None, bias, 16, 16, 16, 4, rate)
                        x = common_layers.layer_postprocess(x, y, Settings)
                    with tf.variable_scope("ffn"):
                        before = common_layers.layer_preprocess(x, Settings)
                        y = common_layers.dense_relu_dense(before, 32, 16, dropout=rate)
                        x = common_layers.layer_postprocess(x, y, Settings)
            return common_layers.layer_preprocess(x, Settings)
        """,
        {"x": padded(normal(3, 7, 16), (7, 5, 7))},
        ("tensorflow_probability",),
    ),
    "tflearn 0.5.0": Case(
        ("tflearn==0.5.0",),
        "tflearn",
        """
        import tensorflow.compat.v1 as tf
        import tflearn


        def forward(inputs, training):
            tf.get_collection_ref("is_training")[:] = [tf.constant(training)]
            net = tflearn.conv_2d(inputs["image"], 8, 3, activation="relu", regularizer="L2", name="conv")
            net = tflearn.batch_normalization(tflearn.max_pool_2d(net, 2))
            net = tflearn.fully_connected(net, 16, activation="tanh", name="dense")
            net = tflearn.dropout(net, 0.8)
            return tf.concat([net, tflearn.lstm(inputs["sequence"], 8)], 1)
        """,
        {"image": normal(4, 8, 8, 3), "sequence": normal(4, 5, 6)},
        ("PIL",),
    ),
    "dm-sonnet 1.36": Case(
        ("dm-sonnet==1.36", "contextlib2==21.6.0"),
        "sonnet",
        """
        import sonnet as snt


        def forward(inputs, training):
            net = snt.nets.ConvNet2D([8, 12], [3], [2], [snt.SAME], use_batch_norm=True)(
                inputs["image"], is_training=training
            )
            mlp = snt.nets.MLP([16, 4], use_dropout=True)
            return mlp(snt.BatchFlatten()(net), is_training=training, dropout_keep_prob=0.7)
        """,
        {"image": normal(4, 8, 8, 3)},
        # Today's protobuf refuses the package's generated code; it serves the saving of modules alone.
        ("tensorflow_probability", "semantic_version", "sonnet.protos.module_pb2"),
    ),
}


@pytest.mark.parametrize("package", CASES)
def test_an_unmodified_package_computes_on_todays_tensorflow_what_it_computed_on_its_own(tmp_path, package):
    case = CASES[package]
    report = check(case.write(tmp_path))
    assert report["verdict"] == "equivalent", report
    verdicts = {step["name"]: step["verdict"] for step in report["steps"]}
    asked = [*STEPS, *(["gradients"] if case.gradients else [])]
    assert [verdicts[name] for name in asked] == ["equivalent"] * len(asked)
    assert report["environments"]["reference"]["tensorflow"] == "1.15.5"
    assert report["steps"][0]["figures"]["variables"] == rows()[package]


def rows():
    """The page's table: package -> number of variables."""
    found = re.findall(r"^\| ([\w.-]+ [\d.]+) \|[^|]*\| (\d+) \|", PAGE.read_text(), re.MULTILINE)
    return {package: int(variables) for package, variables in found}


def test_the_page_has_a_row_for_each_package():
    assert rows().keys() == CASES.keys()


def test_a_package_with_another_activation_is_not_equivalent(tmp_path):
    """That the checks above could fail."""
    case = CASES["bert-tensorflow 1.0.4"]
    configuration = case.write(tmp_path)
    model = (tmp_path / "legacy_model.py").read_text()
    (tmp_path / "other_model.py").write_text(model.replace("vocab_size=50", 'vocab_size=50, hidden_act="relu"'))
    migrated = tmp_path / "migrated_model.py"
    migrated.write_text(migrated.read_text().replace("legacy_model", "other_model"))
    report = check(configuration)
    assert report["verdict"] == "diverged"
    assert report["culprits"][0]["reference"].startswith("bert/encoder/layer_0/intermediate/")
