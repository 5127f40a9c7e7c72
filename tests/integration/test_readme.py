"""What the README and the pages of docs/ tell people to type works, and shows what it says."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
TF1_PAGE = ROOT / "docs" / "tf1_on_todays_tensorflow.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*/README.md"))]


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def links(page):
    """Those that lead to files; what is on the web is not asked."""
    found = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    return [link for link in found if not link.startswith("https://")]


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

    whole, with_environment = blocks("toml")
    (tmp_path / "lockstep.toml").write_text(whole)
    configuration = read(tmp_path / "lockstep.toml")
    assert configuration.rename == ((r"^net/(.*)/weights$", r"model/\1/kernel"),)
    (tmp_path / "lockstep.toml").write_text(with_environment + whole[whole.index("[candidate]") :])
    environment = read(tmp_path / "lockstep.toml").environments["reference"]
    assert (environment.python, environment.requirements[0]) == ("3.7", "tensorflow==1.15.5")


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_every_page_lead_somewhere(page):
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


def test_the_python_of_the_page_on_tf1_code_runs_in_its_order():
    names = {}
    for block in blocks("python", TF1_PAGE.read_text()):
        exec(compile(block, TF1_PAGE.name, "exec"), names)
    assert {"Net", "Mixed"} <= names.keys()


# --- each line of the tables names the test that backs it

TEST = r"`(test_\w+\.py)::(test_\w+)`"


def unbacked(page, tests):
    """The rows of tables with a column `test` that name no test, or one that does not exist."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        heading, _, *rows = table.strip().splitlines()
        if heading.rstrip("| ").endswith("| test"):
            for row in rows:
                named = re.findall(TEST, row.rpartition(" | ")[2])
                missing = [f"{file}::{test}" for file, test in named if test not in tests.get(file, ())]
                found += missing or ([] if named else [row])
    return found


def all_tests():
    """File name -> names of its tests, methods of test classes among them."""
    return {
        file.name: {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}
        for file in (ROOT / "tests").rglob("test_*.py")
    }


def test_every_line_of_the_tables_is_backed_by_a_test_that_exists():
    page = TF1_PAGE.read_text()
    assert len(re.findall(TEST, page)) > 40
    assert unbacked(page, all_tests()) == []


def test_a_line_without_its_test_is_noticed():
    page = (
        "| what | test |\n| --- | --- |\n| a | `test_a.py::test_it` |\n| b | none |\n| c | `test_a.py::test_gone` |\n"
    )
    assert unbacked(page, {"test_a.py": {"test_it"}}) == ["| b | none |", "test_a.py::test_gone"]


def test_contrib_is_gone():
    import tensorflow as tf

    from lockstep import tf1

    tf1.enable()
    with pytest.raises(AttributeError, match="contrib"):
        tf.compat.v1.contrib  # noqa: B018


def test_fused_batch_norm_and_kerass_differ_by_the_correction_that_the_page_tells():
    import keras
    import numpy as np
    import tensorflow as tf

    from lockstep import tf1

    x = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype(np.float32)
    values = 4 * 3 * 3

    class Legacy(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, x):
            return tf1.layers.batch_normalization(x, momentum=0.0, training=True)

    native = keras.layers.BatchNormalization(momentum=0.0)
    legacy = Legacy()
    np.testing.assert_allclose(legacy(tf.constant(x)), native(x, training=True), atol=1e-6)
    (theirs,) = (np.array(v) for v in legacy.variables if "moving_variance" in v.name)
    np.testing.assert_allclose(theirs, np.array(native.moving_variance) * values / (values - 1), rtol=1e-5)
    assert np.all(theirs > 1.01 * np.array(native.moving_variance))


def test_the_page_on_pytest_holds_for_the_example_that_it_shows(tmp_path):
    """Its first block passes; with the factor that the page names it fails as the page shows."""
    page = (ROOT / "docs" / "pytest.md").read_text()
    example, shown = blocks("python", page)[0], blocks("text", page)[0]
    (tmp_path / "test_right.py").write_text(example)
    (tmp_path / "test_migration.py").write_text("* 0.11".join(example.rsplit("* 0.1", 1)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert "1 failed, 1 passed" in done.stdout
    printed = " ".join(re.sub(r"^E +", "", line) for line in done.stdout.splitlines())
    printed = " ".join(printed.split())
    for line in shown.splitlines():
        told = " ".join(re.sub(r"^E +", "", line).split())
        if not told.startswith("error "):  # figures that a machine may round otherwise
            assert told in printed or told == "..."
