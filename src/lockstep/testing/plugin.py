"""The pytest plugin: fixtures, goldens, `lockstep.toml` files as tests, JUnit properties, GitHub's annotations.

It is loaded at every start of pytest wherever Lockstep is installed, so what costs time is imported when it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lockstep.testing.observing import observer

if TYPE_CHECKING:
    from lockstep.results.model import Report
    from lockstep.testing.configurations import ConfigurationFile

_CONFIGS, _UPDATE = "lockstep_configs", "--lockstep-update"
_NAME = "lockstep.toml"
_REPORTS = pytest.StashKey[list["Report"]]()
_GOLDENS = pytest.StashKey[dict[Path, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--lockstep-update` and the ini option `lockstep_configs`."""
    group = parser.getgroup("lockstep")
    group.addoption(
        _UPDATE,
        action="store_true",
        help="Write goldens of lockstep_golden that are missing, or that the model no longer agrees with.",
    )
    parser.addini(
        _CONFIGS,
        type="paths",
        default=[],
        help="Folders in which every lockstep.toml is a test: `lockstep check` of it has to be equivalent.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Has pytest look into the folders of `lockstep_configs`, where nobody told it what to look into."""
    config.stash[_GOLDENS] = {}
    folders = [Path(folder) for folder in config.getini(_CONFIGS)]
    missing = next((folder for folder in folders if not folder.is_dir()), None)
    if missing is not None:
        raise pytest.UsageError(f"{_CONFIGS} names {missing}, and there is no such folder.")
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return
    visited = [config.invocation_params.dir / arg for arg in config.args]
    config.args += [str(folder) for folder in folders if not any(folder.is_relative_to(place) for place in visited)]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ConfigurationFile | None:
    """Makes a test of each `lockstep.toml` below a folder of `lockstep_configs`."""
    folders: list[Path] = parent.config.getini(_CONFIGS)
    if file_path.name != _NAME or not any(file_path.is_relative_to(folder) for folder in folders):
        return None
    from lockstep.testing.configurations import ConfigurationFile

    return ConfigurationFile.from_parent(parent, path=file_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keeps the reports that a test makes, and writes them among its properties, which JUnit's XML has."""
    reports = item.stash[_REPORTS] = []

    def told(report: Report) -> None:
        from lockstep.testing.properties import properties

        reports.append(report)
        item.user_properties += properties(report, len(reports))

    with observer(told):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Gives the test's report what GitHub is to be told; plain values, which pass from xdist's workers."""
    test = yield
    if call.when == "call" and _on_github():
        from lockstep.report import github
        from lockstep.testing.properties import failed_report

        kept, failed = item.stash[_REPORTS], failed_report(call)
        reports = [*kept]
        if failed is not None and failed not in reports:
            reports.append(failed)
        title = item.nodeid
        told = [(github.step_summary(r, title=title), list(github.error_lines(r, title=title))) for r in reports]
        test.lockstep_github = told  # type: ignore[attr-defined] # pytest carries what it does not know
    return test


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints GitHub's annotations, and adds to the summary of the job's step."""
    if not _on_github() or hasattr(config, "workerinput"):  # one of xdist's workers: the process that started it does
        return
    from lockstep.report import github

    tests = [test for tests in terminalreporter.stats.values() for test in tests]
    told = [pair for test in tests for pair in getattr(test, "lockstep_github", ())]
    for summary, lines in told:
        github.add_step_summary(summary)
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def lockstep_golden(request: pytest.FixtureRequest) -> Callable[..., Report]:
    """Checks a model against its golden: `lockstep_golden(model, inputs)`.

    The golden is a trace folder, `goldens/<file>/<test>` beside the test's file; `name=` makes it another one, for a
    test with several. `pytest --lockstep-update` writes it. Further options are those of `lockstep.verify`.
    """
    config, node = request.config, request.node
    beside = request.path.parent / "goldens" / request.path.stem

    def check(model: Any, inputs: Any, *, name: str = "", **options: Any) -> Report:
        __tracebackhide__ = True
        from lockstep.common.errors import InputError
        from lockstep.testing.goldens import assert_golden

        folder = beside / re.sub(r"[^\w.=-]+", "-", f"{node.name}{'-' if name else ''}{name}").strip("-.")
        used = f"{node.nodeid} {name}".rstrip()
        if config.stash[_GOLDENS].setdefault(folder, used) != used:
            raise InputError(f"{config.stash[_GOLDENS][folder]} has the golden {folder} already; give another name=.")
        return assert_golden(model, inputs, folder, update=config.getoption(_UPDATE), **options)

    return check


@pytest.fixture
def lockstep_equivalent() -> Callable[..., Report]:
    """Is `lockstep.testing.assert_equivalent`: checks that a candidate computes what a reference computes."""
    from lockstep.testing.equivalence import assert_equivalent

    return assert_equivalent


def _on_github() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"
