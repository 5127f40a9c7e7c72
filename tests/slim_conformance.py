"""Runs the test files that tf_slim 1.1.0 ships in its wheel; needs Python 3.7 or later.

    python tests/slim_conformance.py                # with `lockstep.tf1.slim.enable()`, on today's TensorFlow
    python tests/slim_conformance.py --untouched    # as they are: the baseline, on TensorFlow 1.15

The files themselves ask for names that TensorFlow and NumPy have moved or dropped. These are put back into the test
modules, so that what fails is tf_slim's doing and not its tests'. Printed as JSON: the tests that passed, what was
skipped (test -> reason) and what failed (test -> last line).

`tests/data/tf115_slim_outcomes.json` is what TensorFlow 1.15.5 with NumPy 1.18 on Python 3.7 answers to `--untouched`.
"""

import argparse
import importlib
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import sys
import types
import unittest
import warnings

# What today's NumPy and TensorFlow call otherwise, or no longer take.
MODERN_SPELLINGS = {".tostring()": ".tobytes()", ", log_usage=False": ""}


class ModernisedSource(importlib.machinery.SourceFileLoader):
    """Loads a test module with today's spellings."""

    def get_code(self, fullname):
        """Compile the replaced source; there is no bytecode file of it."""
        source = self.get_source(fullname)
        for old, new in MODERN_SPELLINGS.items():
            source = source.replace(old, new)
        return compile(source, self.path, "exec", dont_inherit=True)


def test_modules(folder, only):
    """List the test modules below tf_slim's folder whose name contains `only`: (name, path)."""
    for path in sorted(folder.rglob("*_test.py")):
        name = ".".join(("tf_slim", *path.relative_to(folder).with_suffix("").parts))
        if only in name:
            yield name, path


def load_modernised(name, path):
    """Import a test module with today's spellings, and today's places of what it imports."""
    specification = importlib.util.spec_from_loader(name, ModernisedSource(name, str(path)))
    module = sys.modules[name] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    modernise(module)
    return module


def provide_nose():
    """Put a stand-in for the one name of nose, long abandoned, that a test file imports: it only marks a function."""
    nose, tools = types.ModuleType("nose"), types.ModuleType("nose.tools")
    tools.nottest = lambda function: function
    nose.tools = tools
    sys.modules.setdefault("nose", nose)
    sys.modules.setdefault("nose.tools", tools)


def int_of_one_number(value):
    """Do what `int` did to an array of one element until NumPy 2.4."""
    return int(value.item() if hasattr(value, "item") else value)


def modernise(module):
    """Give a test module what it expects in the modules that it imported; those modules stay as they are."""
    import numpy as np
    import tensorflow as tf

    from lockstep.tf1 import layers
    from lockstep.tf1.slim.layer_classes import LAYER_MODULES
    from lockstep.tf1.slim.moved import CONTROL_FLOW, TENSOR_TYPES, ModuleWithMovedNames

    v1 = tf.compat.v1
    moved = {
        "tensorflow.python.framework.ops": TENSOR_TYPES,
        "tensorflow.python.ops.control_flow_ops": CONTROL_FLOW,
        "tensorflow.python.ops.variables": {"VariableV1": v1.Variable},
        "tensorflow.python.ops.variable_scope": {
            "disable_resource_variables": v1.disable_resource_variables,
            "enable_resource_variables": v1.enable_resource_variables,
            "resource_variables_enabled": v1.resource_variables_enabled,
        },
        "numpy": {"product": np.prod, "object": object, "float": float, "bool": bool},
    }
    layers_by_name = {name: getattr(layers, name) for name in layers.__all__}
    for attribute, value in list(vars(module).items()):
        if isinstance(value, types.ModuleType) and value.__name__ in moved:
            setattr(module, attribute, ModuleWithMovedNames(value, moved[value.__name__]))
        elif attribute in LAYER_MODULES:
            setattr(module, attribute, types.SimpleNamespace(**{**layers_by_name, **vars(LAYER_MODULES[attribute])}))
    vars(module)["int"] = int_of_one_number


def run(only="", untouched=False, excluded=()):
    """Run the tests.

    Args:
        only: a part of the names of the test modules to run.
        untouched: whether to leave tf_slim and its tests as they are.
        excluded: parts of the names of test modules to leave out.

    Returns:
        `passed`, a list of tests, and `skipped` and `failed`: test -> reason, or last line.
    """
    import tensorflow.compat.v1 as tf

    tf.logging.set_verbosity(tf.logging.ERROR)
    provide_nose()
    if not untouched:
        from lockstep.tf1 import slim

        slim.enable()
    import tf_slim

    suite, failures = unittest.TestSuite(), {}
    for name, path in test_modules(pathlib.Path(tf_slim.__file__).parent, only):
        if any(part in name for part in excluded):
            continue
        try:
            module = importlib.import_module(name) if untouched else load_modernised(name, path)
        except ImportError as error:
            failures[name] = repr(error)
            continue
        suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(module))
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0, resultclass=NotedResult).run(suite)
    for test, trace in result.failures + result.errors:
        failures[test.id()] = trace.strip().splitlines()[-1][:300]
    skipped = {test.id(): reason for test, reason in result.skipped}
    return {"passed": sorted(result.passed), "skipped": skipped, "failed": failures}


class NotedResult(unittest.TextTestResult):
    """A result that knows which tests passed, not only which did not."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.passed = []

    def addSuccess(self, test):
        """Note a test that passed."""
        super().addSuccess(test)
        self.passed.append(test.id())


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of the names of the test modules to run")
    parser.add_argument("--exclude", action="append", default=[], help="a part of the names to leave out")
    parser.add_argument("--untouched", action="store_true", help="leave tf_slim and its tests as they are")
    options = parser.parse_args()
    # TensorFlow's test base class reads the command line as well and must not see ours.
    sys.argv[1:] = []
    outcome = run(options.only, options.untouched, options.exclude)
    print("\n" + json.dumps(outcome, indent=1))
    sys.exit(bool(outcome["failed"]))
