"""What people install is the wheel, not the checkout: it has to carry the examples and the templates of `init`."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).parent / "uv"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the built wheel unpacked, as an installer would lay it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(installed, tmp_path, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "lockstep", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_demo_finds_its_examples_inside_the_wheel(installed, tmp_path):
    done = run(installed, tmp_path, "demo", "--example", "quickstart")
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stdout + done.stderr
    assert "verdict  equivalent" in done.stdout


def test_init_finds_its_templates_inside_the_wheel(installed, tmp_path):
    assert run(installed, tmp_path, "init", "mine").returncode == 0
    assert {path.name for path in (tmp_path / "mine").iterdir()} >= {"lockstep.toml", "legacy_model.py"}


def test_the_page_finds_its_templates_and_the_pitfalls_inside_the_wheel(installed, tmp_path):
    configuration = installed / "lockstep/examples/quickstart/lockstep-broken.toml"
    done = run(installed, tmp_path, "check", str(configuration), "--html", "report.html")
    assert done.returncode == 1, done.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "How Lockstep makes sure" in page
    assert "return classify(" in page


def test_explain_finds_its_pages_inside_the_wheel(installed, tmp_path):
    done = run(installed, tmp_path, "explain", "epsilon")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# epsilon\n")
    assert (installed / "lockstep" / "docs" / "how_do_i.md").exists()


def test_the_distribution_has_a_name_of_its_own_and_brings_the_plugin(installed):
    (metadata,) = installed.glob("lockstep_verify-*.dist-info")
    assert "Name: lockstep-verify\n" in (metadata / "METADATA").read_text()
    assert "[pytest11]\nlockstep = lockstep.testing.plugin" in (metadata / "entry_points.txt").read_text()
