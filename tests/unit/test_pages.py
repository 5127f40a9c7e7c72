"""`lockstep explain`: every page is found by its name, and a wrong name by what was meant."""

import pytest
from click.testing import CliRunner

from lockstep.cli import main
from lockstep.common.errors import InputError
from lockstep.results import pages
from lockstep.results.model import Verdict
from lockstep.results.pitfalls import SLUGS, told


def explain(*arguments):
    return CliRunner().invoke(main, ["explain", *arguments])


@pytest.mark.parametrize("slug", SLUGS)
def test_the_command_that_a_report_names_prints_the_page(slug):
    command = told(slug).partition(":")[0].split()
    assert command[:2] == ["lockstep", "explain"]
    outcome = explain(*command[2:])
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith(f"# {slug}\n")


def test_the_list_has_every_page():
    listing = explain().stdout
    assert [name for name in pages.pages() if f"  {name} " not in listing] == []
    assert {"pytest", "design/noise", *SLUGS} <= set(pages.pages())


@pytest.mark.parametrize("name", ["docs/pitfalls/epsilon.md", "Epsilon", "epsilon.md"])
def test_a_page_is_found_by_what_one_types(name):
    assert pages.page(name).name == "epsilon"


def test_a_page_on_the_design_is_found_by_its_own_name():
    assert pages.page("noise").name == "design/noise"
    assert pages.page("switches").name == "switches"  # the page for users, not that on how it works


@pytest.mark.parametrize(("name", "meant"), [("epsilonn", "'epsilon'"), ("kernel", "'transposed-kernel'")])
def test_an_unknown_name_is_told_with_near_ones(name, meant):
    outcome = explain(name)
    assert outcome.exit_code == 2
    assert f"there is no page '{name}'; did you mean " in outcome.stderr
    assert meant in outcome.stderr


@pytest.mark.parametrize("name", ["zzzzz", "x", "a" * 1000, "../../etc/passwd"])
def test_what_is_like_nothing_is_told_as_that(name):
    outcome = explain(name)
    assert outcome.exit_code == 2
    assert "`lockstep explain` lists them all" in outcome.stderr


def test_a_word_that_many_pages_hold_leads_to_those_that_hold_it_most():
    assert "batch-statistics" in pages.near_names("batchnorm", pages.pages())


def test_an_installation_without_pages_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(pages, "__file__", str(tmp_path / "a" / "b" / "pages.py"))
    with pytest.raises(InputError, match="came without its documentation"):
        pages.pages()


def test_the_words_of_a_report_are_in_the_glossary():
    text = explain("glossary").stdout
    said = [*map(str, Verdict), "culprit", "cause", "ratio", "noise budget", "consequence", "forced lockstep"]
    assert [word for word in said if word not in text] == []
