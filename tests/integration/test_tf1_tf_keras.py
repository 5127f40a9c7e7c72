"""The shim on layers of tf_keras (Keras 2), in an environment that has it beside Keras 3."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tf_keras_python():
    """The interpreter of the environment that the benchmark makes, once, beside this one."""
    spec = importlib.util.spec_from_file_location("bench_shim", ROOT / "benchmarks" / "bench_shim.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.tf_keras_python()


@pytest.mark.slow
@pytest.mark.parametrize("legacy", ["0", "1"], ids=["tf.keras is Keras 3", "tf.keras is tf_keras"])
def test_tf_keras_layers_and_models(tf_keras_python, legacy, tmp_path):
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": legacy, "PYTHONPATH": str(ROOT / "src")}
    script = Path(__file__).with_name("tf_keras_cases.py")
    done = subprocess.run(
        [tf_keras_python, script, tmp_path], env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.stdout.splitlines()[-1:] == ["16 of 16 passed"], done.stdout + done.stderr[-2000:]
