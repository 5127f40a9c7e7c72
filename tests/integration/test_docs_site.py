"""The site that `make docs` builds: its hooks, and that whatever its API reference names exists."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site():
    """The module of the hooks, which is no package's."""
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "tools" / "docs_site.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_site"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["docs_site"]


def test_whatever_the_api_reference_names_exists(site):
    for name in (name for names in site.API.values() for name in names):
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError:
            module, _, attribute = name.rpartition(".")
            found = getattr(importlib.import_module(module), attribute)
        assert found.__doc__, name


def test_every_public_name_is_in_the_api_reference(site):
    import lockstep

    page = site.api()
    modules = {"testing", "tf1"}
    missing = [
        name
        for name in lockstep.__all__
        if name not in modules
        and f".{name}\n" not in page
        and getattr(lockstep, name).__module__ not in page  # a module that is shown whole
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("target", "source", "here", "link"),
    [
        ("docs/pytest.md", "README.md", "index.md", "[x](pytest.md)"),
        ("../examples/digits/README.md", "docs/how_do_i.md", "how_do_i.md", "[x](examples/digits/README.md)"),
        ("examples/guide", "README.md", "index.md", "[x](examples/guide/README.md)"),
        ("../../SECURITY.md#a", "docs/design/recordings.md", "design/recordings.md", "[x](../security.md#a)"),
        ("src/lockstep/cli/__init__.py", "SECURITY.md", "security.md", "x (`src/lockstep/cli/__init__.py`)"),
        ("https://example.org", "README.md", "index.md", "[x](https://example.org)"),
        ("#heading", "README.md", "index.md", "[x](#heading)"),
    ],
)
def test_a_link_leads_to_the_page_in_the_site(site, target, source, here, link):
    known = {"pytest.md", "how_do_i.md", "index.md", "security.md"}
    known |= {"examples/digits/README.md", "examples/guide/README.md"}
    assert site.relinked("x", target, source, here, known) == link


def test_the_navigation_has_every_page(site):
    config = site.on_config({"docs_dir": str(ROOT / "docs")})
    named = [
        page
        for part in config["nav"]
        for value in part.values()
        for page in ([value] if isinstance(value, str) else value)
    ]
    pages = {file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(named)
    assert len(named) == len(set(named))
