"""Private names of TensorFlow and Keras: used in one module, listed there, and told by name where they are missing."""

import ast
import functools
import importlib
import importlib.util
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

import lockstep
from lockstep.common.errors import UncheckedVersionWarning, UnsupportedVersionError
from lockstep.tf1 import compatibility, private

ROOT = pathlib.Path(lockstep.__file__).parent
PRIVATE = "tf1/private.py"
LISTED = {entry.name for entry in private.NAMES}
OVERRIDDEN = {(entry.overridden_in, entry.name) for entry in private.NAMES if entry.overridden_in}
# Python's own: named tuples, the frame of the caller, and the end of a process.
STANDARD_LIBRARY = {"_asdict", "_exit", "_fields", "_getframe", "_replace"}
# tf_slim's, of which one version alone is supported and checked for (`lockstep.tf1.slim.enable`).
TF_SLIM = {("tf1/slim/getters.py", "_model_variable_getter")}
# The recorder runs in old environments without the rest of Lockstep, and says beside it what it was checked on.
RECORDER = {
    *(("recorder/randomness.py", f"tensorflow.python.framework{rest}") for rest in ("", ".random_seed", ".ops")),
    *(("recorder/randomness.py", f"tensorflow.python.ops{rest}") for rest in ("", ".while_v2")),
    *(("recorder/keras_layers.py", name) for name in ("_built", "_maybe_init", "_rng_type", "_seed")),
    *(("recorder/registries.py", f"tensorflow.python.{rest}") for rest in ("keras", "framework.ops")),
    ("recorder/registries.py", "_registry"),
    ("recorder/graph.py", "_trainable"),
    ("recorder/graph.py", "_set_attr"),
    ("recorder/operations.py", "_control_outputs"),
    ("recorder/keras2.py", "_trainable"),
    *(
        ("recorder/keras2_eager.py", f"tensorflow.python.{rest}")
        for rest in ("eager", "eager.context", "framework", "framework.func_graph", "framework.convert_to_constants")
    ),
    ("recorder/keras2_eager.py", "_run_inline_graph_optimization"),
    *(
        ("recorder/keras2_optimizing.py", name)
        for name in (
            "_decayed_lr",
            "_learning_rate",
            "_model_variables_moving_average",
            "keras.src.optimizers.base_optimizer",
        )
    ),
    *(("recorder/keras2_start.py", name) for name in ("_SESSION", "_update_input")),
    *(("recorder/keras_layers.py", name) for name in ("keras.src.layers.layer", "_RandomGenerator")),
    *(("recorder/randomness.py", f"tensorflow.python.{rest}") for rest in ("eager", "eager.context")),
    *(("recorder/scripts.py", f"tensorflow.python.{rest}") for rest in ("ops", "ops.gen_array_ops")),
    ("recorder/scripts.py", "_unsafe_unfinalize"),
}
# PyTorch's: an operation whose name begins so, and what its own file for private names has.
TORCH = {
    ("frameworks/torch/lowering/attention.py", "_safe_softmax"),
    ("frameworks/torch/lowering/private.py", "_schema"),
    ("frameworks/torch/lowering/private.py", "_dynamo"),
}
# The table of what packages of TF1 code import by these names; `tests/integration/test_tf1_packages.py` imports them.
ASKED_FOR = {
    ("tf1/tensorflow_1.py", f"tensorflow.python{rest}")
    for rest in ("", ".tf2", ".ops.rnn", ".ops.rnn_cell_impl", ".util.nest", ".framework.smart_cond")
}
PRIVATE_PLACE = re.compile(
    r"\b(tensorflow\.python|tensorflow\.__internal__|tf\.__internal__|(tf_)?keras\.src)\b\.?(\w*)"
)


def is_private(name):
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def own_names(tree):
    """The private names that a module defines: functions, classes, arguments, variables, attributes of `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.keyword):  # `vars(self).update(_name=...)`
            yield node.arg or ""
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr


def docstrings(tree):
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, documented)]
    return {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}


def foreign_uses(tree, own, ours=frozenset()):
    """Yields (line, name) for each private name in the code that is not one of `own`, or a private place's name.

    What is `ours` but bears a listed name counts as foreign, unless it is an attribute of `self`.
    """
    texts = docstrings(tree)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Attribute) and (is_private(node.attr) or node.attr == "__internal__"):
            # What a class of ours defines is ours; that it replaces nothing of its base, the test of overrides sees.
            if node.attr not in (own | ours if ast.unparse(node.value) in {"self", "cls"} else own):
                yield line, node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            if PRIVATE_PLACE.search(node.value):
                yield line, node.value
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            modules += [f"{node.module}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom) else []
            yield from ((line, module) for module in modules if PRIVATE_PLACE.search(module))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"getattr", "hasattr", "setattr", "delattr"}:
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            if is_private(str(name)) and name not in own:
                yield line, name


@functools.cache
def trees():
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}


@functools.cache
def defined(tree):
    return frozenset(filter(is_private, own_names(tree)))


def defined_in(parsed):
    return set().union(*map(defined, parsed.values()))


def names_of_ours(parsed):
    return (defined_in(parsed) | STANDARD_LIBRARY) - LISTED


def strays(parsed, paths=None):
    """Yields "file:line name" for each use of a private name outside the module for them, in all files or in these."""
    own, ours = names_of_ours(parsed), defined_in(parsed)
    for path in paths or parsed:
        for line, name in foreign_uses(parsed[path], own, ours):
            if path != PRIVATE and (path, name) not in OVERRIDDEN | TF_SLIM | RECORDER | ASKED_FOR | TORCH:
                yield f"{path}:{line} {name}"


def test_private_names_are_used_in_one_module():
    assert list(strays(trees())) == []


@pytest.mark.parametrize(
    "line",
    [
        "from tensorflow.python.eager import context",
        "from tensorflow import python",
        "import keras.src.backend",
        "from keras.src import backend",
        "importlib.import_module('tensorflow.python.ops')",
        "tf.__internal__.tracking.Trackable",
        "layer._tracker.unlock()",
        "layer._never_heard_of",
        "self._never_heard_of()",
        "super()._trackable_children()",
        "getattr(layer, '_trainable_variables')",
        "setattr(layer, '_inbound_nodes', [])",
        "variable._value",
    ],
)
def test_that_check_can_fail(line):
    parsed = {**trees(), "new.py": ast.parse(line)}
    found = list(strays(parsed, ["new.py"]))
    assert found
    assert all(stray.startswith("new.py:1 ") for stray in found)


def unlisted_in(tree, own):
    """What a module names and the table does not: attributes, places, and the pairs that `_private` is asked for."""
    listed = [str(entry) for entry in private.NAMES]
    names = {name for _, name in foreign_uses(tree, own)} - LISTED
    names = {name for name in names if not (PRIVATE_PLACE.search(name) and any(e.startswith(name) for e in listed))}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "_private"]
    pairs = {".".join(str(getattr(part, "value", ast.unparse(part))) for part in call.args) for call in calls}
    return names | (pairs - set(listed))


def test_every_private_name_that_is_used_is_listed():
    parsed = trees()
    assert unlisted_in(parsed[PRIVATE], names_of_ours(parsed)) == set()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("layer._inbound_nodes.clear()", "_inbound_nodes"),
        ("_private('keras.src.backend', 'KerasTensor')", "keras.src.backend.KerasTensor"),
        ("_private(place, 'KerasTensor')", "place.KerasTensor"),
        ("from keras.src.backend import KerasTensor", "keras.src.backend.KerasTensor"),
        ("importlib.import_module('tensorflow.python.client')", "tensorflow.python.client"),
        ("tf.__internal__.dispatch", "__internal__"),
    ],
)
def test_that_check_can_fail_too(line, said):
    assert unlisted_in(ast.parse(line), names_of_ours(trees())) == {said}


def unused(entries, parsed):
    """Returns those that no line outside the table names, as an attribute, a definition or a string."""
    body = [node for node in parsed[PRIVATE].body if "NAMES" not in ast.unparse(getattr(node, "targets", []) or [])]
    code = [ast.Module(body, []), *(tree for path, tree in parsed.items() if path != PRIVATE)]
    nodes = [node for tree in code for node in ast.walk(tree)]
    used = {getattr(node, attribute, None) for node in nodes for attribute in ("attr", "name", "value")}
    used |= {f"_{name}" for name in ("name", "path")}  # `rename_variable` puts these together
    return [entry for entry in entries if entry.name not in used]


def test_every_listed_name_is_used():
    stale = compatibility.PrivateName("keras.Layer", "_nowhere_to_be_found", "does nothing")
    assert unused([*private.NAMES, stale], trees()) == [stale]


def overrides():
    """Yields (file, name, class) for each private attribute of a foreign class that a class of ours replaces."""
    for module_info in pkgutil.walk_packages(lockstep.__path__, "lockstep."):
        of_torch = module_info.name.startswith("lockstep.frameworks.torch")
        if module_info.name.endswith("__main__") or (of_torch and importlib.util.find_spec("torch") is None):
            continue
        module = importlib.import_module(module_info.name)
        path = pathlib.Path(module.__file__).relative_to(ROOT).as_posix()
        for ours in vars(module).values():
            if inspect.isclass(ours) and ours.__module__ == module.__name__:
                foreign = [base for base in ours.__mro__ if base.__module__.split(".")[0] in {"tensorflow", "keras"}]
                names = filter(is_private, vars(ours))
                yield from ((path, name, ours) for name in names if any(name in vars(base) for base in foreign))


def test_every_override_is_listed():
    # What Keras and ABCMeta note down about every class of theirs.
    found = {(path, name) for path, name, _ in overrides() if not name.startswith(("_abc_", "_tf_api", "_keras_api"))}
    assert found <= OVERRIDDEN
    assert ("tf1/ownership.py", "_initialize") in found


def test_all_listed_names_are_found():
    compatibility.check(private.NAMES)
    absent = [str(entry) for entry in private.NAMES if not entry.present()]
    assert set(absent) <= {str(entry) for entry in private.NAMES if entry.optional}


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        (keras.Layer, "_track_variable", "keras.Layer._track_variable, by which it makes a variable one of the layer"),
        (keras.Layer, "_lock_state", "keras.Layer._lock_state, by which"),
        (tf.Variable, "_get_save_slice_info", "tensorflow.Variable._get_save_slice_info, by which"),
        (
            importlib.import_module("keras.src.utils.naming"),
            "reset_uids",
            "keras.src.utils.naming.reset_uids, by which",
        ),
        (
            importlib.import_module("tensorflow.python.ops.variable_scope"),
            "_get_default_variable_store",
            "tensorflow.python.ops.variable_scope._get_default_variable_store, by which it finds the graph's own store",
        ),
    ],
)
def test_a_missing_name_is_told_with_the_versions(monkeypatch, owner, name, said):
    owner = next(base for base in getattr(owner, "__mro__", [owner]) if name in vars(base))
    monkeypatch.delattr(owner, name)
    with pytest.raises(UnsupportedVersionError) as caught:
        compatibility.check(private.NAMES)
    text = str(caught.value)
    assert f"TensorFlow {tf.__version__} with Keras {keras.__version__} lacks" in text
    assert said in text
    assert "checked on TensorFlow 2.16.2 with Keras 3.3.3" in text
    assert text.count("by which") == 1


def test_a_name_that_goes_later_is_told_at_its_use(monkeypatch):
    monkeypatch.delattr(importlib.import_module("keras.src.utils.naming"), "reset_uids")
    with pytest.raises(UnsupportedVersionError, match=r"lacks .* rests on: keras\.src\.utils\.naming\.reset_u"):
        private.reset_automatic_names()


def test_an_attribute_of_instances_counts_and_another_does_not():
    assert compatibility.PrivateName("keras.Variable", "_value", "holds").present()
    assert not compatibility.PrivateName("keras.Variable", "_valeu", "holds").present()
    assert not compatibility.PrivateName("keras.no_such.module", "name", "holds").present()


@pytest.mark.parametrize(
    ("package", "version", "said"),
    [
        (tf, "2.15.1", "TensorFlow 2.15.1 is too old for lockstep.tf1, which supports TensorFlow 2.16 and later"),
        (tf, "1.15.5", "TensorFlow 1.15.5 is too old"),
        (keras, "2.15.0", "Keras 2.15.0 is too old for lockstep.tf1, which supports Keras 3.3 and later"),
        (keras, "3.2.1", "Keras 3.2.1 is too old"),
    ],
)
def test_a_version_that_is_too_old_is_refused(monkeypatch, package, version, said):
    monkeypatch.setattr(package, "__version__", version)
    with pytest.raises(UnsupportedVersionError, match=re.escape(said)) as caught:
        compatibility.check(private.NAMES)
    assert compatibility.REMEDY in str(caught.value)


@pytest.mark.parametrize(("package", "version"), [(tf, "2.23.0-rc1"), (keras, "3.21.0"), (keras, "4.0.0")])
def test_a_newer_version_with_all_names_is_taken_with_a_warning(monkeypatch, package, version):
    monkeypatch.setattr(package, "__version__", version)
    with pytest.warns(UncheckedVersionWarning, match=f"was not checked on .*{re.escape(version)}.* it is used"):
        compatibility.check(private.NAMES)


def test_a_newer_python_is_told_too(monkeypatch):
    monkeypatch.setattr(compatibility.platform, "python_version", lambda: "3.14.0")
    with pytest.warns(UncheckedVersionWarning, match=r"was not checked on Python 3\.14\.0\."):
        compatibility.check(private.NAMES)


def test_a_newer_version_without_a_name_is_refused(monkeypatch):
    monkeypatch.setattr(tf, "__version__", "2.23.0")
    gone = compatibility.PrivateName("tensorflow", "no_such_name", "holds")
    with pytest.raises(UnsupportedVersionError, match=r"TensorFlow 2\.23\.0 .* lacks .*tensorflow\.no_such_name"):
        compatibility.check((gone,))


def test_the_versions_of_this_run_are_checked_ones():
    compatibility.check(private.NAMES)  # a warning is an error here


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UnsupportedVersionError, match=r"Keras computes with 'jax' here\. Set KERAS_BACKEND=tensorflow"):
        compatibility.check(private.NAMES)


def last_line_of(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    return (done.stderr or done.stdout).strip().splitlines()[-1]


@pytest.mark.slow
def test_import_asks():
    program = "import keras; del keras.layers.Layer._lock_state; import lockstep.tf1"
    assert "lacks what lockstep.tf1 rests on: keras.Layer._lock_state" in last_line_of(program)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["tensorflow", "keras"])
def test_import_without_it_says_what_to_install(package):
    program = f"import sys; sys.modules[{package!r}] = None; import lockstep.tf1"
    said = last_line_of(program)
    assert f"{package} is not installed" in said
    assert compatibility.REMEDY in said


@pytest.mark.slow
def test_import_leaves_devices_to_be_configured():
    program = (
        "import tensorflow as tf, lockstep.tf1\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "print(len(tf.config.list_logical_devices('CPU')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2"], done.stderr
