"""What the README tells people to type works, and shows what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_init_and_check_work_as_the_readme_says(tmp_path):
    (commands,) = [block for block in blocks("") if "lockstep init" in block]
    for command in commands.strip().splitlines():
        words = command.split()
        assert words[0] == "lockstep"
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
    assert "verdict  equivalent" in done.stdout


def test_the_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\S+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_configuration_of_the_readme_is_valid(tmp_path):
    from lockstep.config import read

    (block,) = blocks("toml")
    (tmp_path / "lockstep.toml").write_text(block)
    configuration = read(tmp_path / "lockstep.toml")
    assert configuration.rename == ((r"^net/(.*)/weights$", r"model/\1/kernel"),)


def test_the_python_of_the_readme_runs():
    import numpy as np
    import tensorflow as tf

    import lockstep

    def legacy_forward(inputs, training):
        del training
        return inputs["image"] * tf.compat.v1.get_variable("scale", [])

    verify, layer = blocks("python")
    names = {"legacy_forward": legacy_forward}
    exec(layer, names)
    names.update(
        forward=lambda inputs, training: legacy_forward(inputs, training=training),
        build=names["Network"],
        batch=np.ones((2, 3), np.float32),
    )
    exec(verify, names)
    assert names["report"].verdict == "equivalent"
    assert lockstep.verify


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_the_links_of_the_readme_lead_somewhere(link):
    assert (ROOT / link).exists()
