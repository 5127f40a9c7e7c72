"""The page of a real check, in a real browser: nothing in the console, and everything does what it says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lockstep
from lockstep import config
from lockstep.cli import session
from lockstep.common.errors import InputError
from lockstep.results.model import Verdict

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples/quickstart"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
LARGEST_PAGE = 3_000_000


def checked(configuration, **options):
    """Runs the check of a configuration and keeps its evidence."""
    settings = config.read(configuration)
    subjects = [config.subject_from_configuration(settings, side) for side in ("reference", "candidate")]
    return lockstep.verify(
        *subjects, config.make_inputs(settings), gradients=settings.gradients, evidence=[settings.folder], **options
    )


@pytest.fixture(scope="module")
def broken():
    return checked(QUICKSTART / "lockstep-broken.toml")


@pytest.fixture(scope="module")
def right():
    return checked(QUICKSTART / "lockstep.toml")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no Chromium on PATH (looked for {', '.join(BROWSERS)})")
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=found, args=root)
        yield running
        running.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page from its file; what its console says, and what it raises, fails the test at its end."""
    told, pages = [], []

    def open_page(text, fragment="", **options):
        file = tmp_path / f"{len(pages)}.html"
        file.write_text(text, encoding="utf-8")
        page = browser.new_page(viewport={"width": options.pop("width", 1280), "height": 900}, **options)
        pages.append(page)
        page.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: told.append(f"error: {error}"))
        page.on("request", lambda request: None if request.url.startswith("file:") else told.append(request.url))
        page.goto(f"{file.as_uri()}{fragment}")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert told == []


# --- what a check collects


def test_a_check_keeps_nothing_unless_somebody_asked():
    settings = config.read(QUICKSTART / "lockstep.toml")
    subjects = [config.subject_from_configuration(settings, side) for side in ("reference", "candidate")]
    assert lockstep.verify(*subjects, config.make_inputs(settings), gradients=False).evidence is None


def test_keeping_evidence_changes_no_verdict_and_no_figure(broken):
    settings = config.read(QUICKSTART / "lockstep-broken.toml")
    subjects = [config.subject_from_configuration(settings, side) for side in ("reference", "candidate")]
    without = lockstep.verify(*subjects, config.make_inputs(settings))
    assert [(s.name, s.verdict, s.summary, s.figures) for s in without.steps] == [
        (s.name, s.verdict, s.summary, s.figures) for s in broken.steps
    ]
    assert without.culprits == broken.culprits


def test_of_right_programs_every_operation_is_identical_and_runs_freely_without_error(right):
    assert right.verdict is Verdict.EQUIVALENT
    inference = right.evidence.programs[0]
    assert {row.state for row in inference.rows} == {"identical"}
    assert {row.free for row in inference.rows} == {0.0}
    assert all(0 < row.rounding < 1e-5 for row in inference.rows if row.rounding is not None)
    assert [each.counts for each in right.evidence.ulps if each.step == "inference-random"] == [(80,)]


def test_of_wrong_programs_the_error_begins_at_the_culprit_and_travels_in_the_free_run_alone(broken):
    rows = {row.reference.name: row for row in broken.evidence.programs[0].rows}
    assert rows["classifier/mul"].state == "beyond"
    assert rows["classifier/mul"].ratio > 1000
    behind = rows["classifier/logits/MatMul"]
    assert (behind.state, behind.error) == ("identical", 0.0)
    assert behind.free > 0.1 > behind.rounding


def test_the_lines_of_both_sides_are_kept(broken):
    assert broken.evidence.excerpts["legacy_model.py"].lines[11].strip().startswith("return classify(")


def test_variables_are_kept_with_what_has_no_partner(broken):
    alone = [pair.reference for pair in broken.evidence.variables if pair.candidate is None]
    assert alone == ["classifier/scale", "classifier/bias"]
    assert [pair.initial for pair in broken.evidence.variables if pair.candidate] == [0.0] * 4


# --- the page in a browser


def test_a_culprit_that_is_clicked_shows_its_lines(broken, opened):
    page = opened(broken.to_html())
    culprit = page.locator("#culprit-3")
    assert not culprit.locator(".excerpt").first.is_visible()
    culprit.locator("summary").first.click()
    assert culprit.locator(".excerpt").count() == 2
    assert "return classify(" in culprit.locator(".line.named").first.inner_text()


def test_a_link_to_a_culprit_opens_it(broken, opened):
    page = opened(broken.to_html(), "#culprit-4")
    assert page.locator("#culprit-4 .excerpt").first.is_visible()


def test_the_search_finds_an_operation_and_says_how_many(broken, opened):
    page = opened(broken.to_html())
    page.keyboard.press("/")
    page.keyboard.type("matmul logits")
    rows = page.locator(".row.operation:visible")
    assert rows.count() == 1
    assert "MatMul" in rows.first.inner_text()
    assert page.locator(".found").inner_text() == "1 of 7 operations"
    page.keyboard.press("Escape")
    assert page.locator(".found").inner_text() == "7 operations"


def test_what_differs_can_be_shown_alone(broken, opened):
    page = opened(broken.to_html())
    page.locator("#only").check()
    assert page.locator(".row.operation:visible").count() == 2


def test_a_link_to_an_operation_unfolds_the_way_to_it(broken, opened):
    page = opened(broken.to_html(), "#map/training/classifier/logits/BiasAdd")
    chosen = page.locator(".row.chosen")
    assert chosen.is_visible()
    assert "BiasAdd" in chosen.inner_text()
    assert page.locator(".more:visible").inner_text().count("classifier/logits/BiasAdd") >= 1


def test_a_culprit_leads_to_its_operation_and_back(broken, opened):
    page = opened(broken.to_html(), "#culprit-3")
    page.locator("#culprit-3 .to-map").click()
    page.locator(".row.chosen").wait_for()
    assert "mul" in page.locator(".row.chosen").inner_text()
    assert page.locator(".row.chosen .ordinal").get_attribute("href") == "#culprit-3"


def test_the_map_goes_by_keyboard(broken, opened):
    page = opened(broken.to_html())
    page.locator('.row[tabindex="0"]').focus()
    focused = page.locator(".row:focus")
    assert focused.get_attribute("aria-expanded") == "true"
    page.keyboard.press("ArrowLeft")
    assert focused.get_attribute("aria-expanded") == "false"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert focused.get_attribute("aria-level") == "2"


def test_dark_is_what_the_system_says_until_the_reader_says_otherwise(broken, opened):
    def paper(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = (opened(broken.to_html(), color_scheme=scheme) for scheme in ("light", "dark"))
    assert paper(light) == "rgb(251, 251, 249)"
    assert paper(dark) == "rgb(20, 23, 26)"
    dark.locator("#theme").click()
    assert paper(dark) == paper(light)


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_the_page_is_never_wider_than_its_window(broken, opened, width):
    page = opened(broken.to_html(), width=width)
    for each in page.locator(".culprit > summary").all():
        each.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_all_culprits_are_open_on_paper(broken, opened):
    page = opened(broken.to_html())
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#culprit-4 .excerpt").first.is_visible()
    assert not page.locator("#theme").is_visible()


def test_the_chart_names_what_lies_under_the_pointer(broken, opened):
    page = opened(broken.to_html())
    page.locator("figure.depth svg").first.hover()
    assert "free" in page.locator("figure.depth .readout").first.inner_text()


def test_the_page_of_an_equivalent_pair_shows_all_that_was_compared(right, opened):
    page = opened(right.to_html())
    assert page.locator("h1").inner_text().endswith("equivalent")
    assert page.locator(".found").inner_text() == f"{len(right.evidence.programs[0].rows)} operations"


def test_hostile_names_are_shown_by_the_map_and_run_by_nobody(broken, opened):
    from tests.unit.test_report_html import HOSTILE, report

    page = opened(report(name=HOSTILE).to_html())
    page.locator("#only").check()
    page.locator(".row.operation").first.click()
    assert "window.obeyed" in page.locator(".more").first.inner_text()
    assert page.evaluate("window.obeyed") is None


# --- from the command line


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "lockstep", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_record_show_and_compare_write_pages(tmp_path, opened):
    broken = QUICKSTART / "lockstep-broken.toml"
    assert run("record", broken, "--to", "r", cwd=tmp_path).returncode == 0
    done = run("record", broken, "--side", "candidate", "--reference", "r", "--to", "c", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("show", "r", "--html", "r.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = opened((tmp_path / "r.html").read_text(encoding="utf-8"))
    page.locator("summary", has_text="6 variables").first.click()
    assert page.get_by_text("classifier/hidden/kernel").first.is_visible()
    done = run("compare", "r", "c", "--config", broken, "--html", "report.html", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout.rstrip().endswith("report: report.html")
    page = opened((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.locator("h1").inner_text().endswith("diverged")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--html", "."], "--html .: this is a folder; name a file in it."),
        (["--html", "there/is/none.html"], "--html there/is/none.html: there is no folder"),
        (["--html", "-"], "--html -: a page is written to a file"),
        (["--html", "one", "--json", "one"], "--json and --html both name one; name two files."),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_anything_runs(tmp_path, arguments, told):
    done = run("check", QUICKSTART / "lockstep.toml", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.slow
def test_the_page_of_the_guide_s_network_with_a_mistake_names_it_and_is_small(opened):
    from benchmarks.zoo.families.inception_resnet_v2 import shim

    folder = ROOT / "examples/inception_resnet_v2"
    settings = config.read(folder / "lockstep.toml")
    reference = config.subject_from_configuration(settings, "reference")
    candidate = lockstep.keras(lambda: shim.build({"block17_7_scale"}))
    inputs = config.make_inputs(settings)
    report = lockstep.verify(reference, candidate, inputs, evidence=[folder], steps=["inference-fixed"])
    assert report.verdict is Verdict.DIVERGED
    text = report.to_html()
    assert len(text.encode()) <= LARGEST_PAGE
    page = opened(text)
    assert page.locator(".culprit").count() == 1
    assert "block17_7" in page.locator(".culprit summary").first.inner_text()
    page.locator("#culprit-1 .to-map").click()
    assert "mul" in page.locator(".row.chosen").inner_text().lower()


# --- the same for Model Explorer


def test_model_explorer_is_given_both_programs_with_the_culprits_in_colour(broken, tmp_path):
    session.write_graphs(broken, tmp_path / "graphs")
    files = {path.name: json.loads(path.read_text()) for path in (tmp_path / "graphs").iterdir()}
    graphs = {graph["id"]: graph["nodes"] for graph in files["candidate.json"]["graphs"]}
    assert list(graphs) == ["inference", "training"]
    nodes = {node["id"]: node for node in graphs["inference"]}
    read = {edge["sourceNodeId"] for node in nodes.values() for edge in node["incomingEdges"]}
    assert read < set(nodes)
    assert len(read) == len(nodes) - 1  # all but the last operation lead to another one
    results = files["candidate_errors.json"]["inference"]["results"]
    orange = {nodes[name]["label"] for name, result in results.items() if result["value"] > 1}
    assert orange == {"Mul", "AddV2"}


def test_a_folder_that_cannot_be_made_is_told(broken, tmp_path):
    (tmp_path / "graphs").write_text("a file")
    with pytest.raises(InputError, match="cannot be made"):
        session.write_graphs(broken, tmp_path / "graphs")
