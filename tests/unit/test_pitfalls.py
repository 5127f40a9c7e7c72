"""Every pitfall that a report can name has a summary and a page, and every page a pitfall."""

import ast
from pathlib import Path

import pytest

from lockstep.results import pitfalls
from lockstep.results.pitfalls import SLUGS, SUMMARIES

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "pitfalls"
SOURCES = ROOT / "src" / "lockstep"


def strings(folder: Path) -> set[str]:
    """All string constants of the package, but for the catalogue's own."""
    files = [file for file in folder.rglob("*.py") if file.name != "pitfalls.py"]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    return {
        n.value for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }


def named_as_pitfall(folder: Path) -> set[str]:
    """What is handed over as `pitfall="..."` anywhere, other modules' types notwithstanding."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in folder.rglob("*.py")]
    values = (k.value for tree in trees for k in ast.walk(tree) if isinstance(k, ast.keyword) and k.arg == "pitfall")
    return {n.value for value in values for n in ast.walk(value) if isinstance(n, ast.Constant) and n.value}


def test_the_catalogue_is_one_list_in_order():
    assert list(SUMMARIES) == list(SLUGS) == sorted(SLUGS)


def test_every_slug_can_be_told_by_the_code():
    assert not set(SLUGS) - strings(SOURCES)


def test_what_the_code_names_is_in_the_catalogue():
    assert named_as_pitfall(SOURCES) - {"pitfall"} <= set(SLUGS)


def test_a_slug_that_nobody_tells_is_noticed(tmp_path):
    (tmp_path / "module.py").write_text('cause = Cause("other", pitfall="no-such")\n')
    assert strings(tmp_path) == {"other", "no-such"}
    assert named_as_pitfall(tmp_path) == {"no-such"}


def test_every_slug_has_a_page_and_every_page_a_slug():
    assert {page.stem for page in PAGES.glob("*.md")} - {"README"} == set(SLUGS)


def test_the_index_lists_every_page_with_its_summary():
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    for slug, summary in SUMMARIES.items():
        assert f"| [{slug}]({slug}.md) | {summary} |" in index


@pytest.mark.parametrize("slug", SLUGS)
def test_a_page_has_its_parts(slug):
    page = (PAGES / f"{slug}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {slug}\n")
    assert " ".join(page.lower().split()).startswith(f"# {slug} {SUMMARIES[slug].lower()}.")
    assert "\n  cause      " in page
    for part in ("\n**Why.** ", "\n# before\n", "\n# after\n", "\n**How Lockstep makes sure.** "):
        assert part in page


def test_a_pitfall_of_a_later_version_is_told_by_the_command():
    assert pitfalls.told("of-tomorrow") == "lockstep explain of-tomorrow"
    assert pitfalls.told("") == ""
