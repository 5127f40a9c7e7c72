"""Hooks of `make docs`: the pages outside of `docs/` (README, changelog, examples), an API reference, the navigation.

Links that leave `docs/` are turned to these pages; what is no page (a source file, a folder) is shown as its path.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Path from the top of the repository -> where it is in the site; those of the examples keep theirs."""
API = {
    "Checking": (
        "lockstep.check.verification.verify",
        "lockstep.results.model",
        "lockstep.compare.tolerance.FixedTolerance",
        "lockstep.compare.outputs.OutputRules",
    ),
    "Subjects": (
        "lockstep.frameworks.tensorflow.subjects.tf1_graph",
        "lockstep.frameworks.tensorflow.subjects.keras",
        "lockstep.frameworks.torch.subjects.torch",
        "lockstep.frameworks.keras2.subjects.keras2",
        "lockstep.elsewhere.loading.load",
    ),
    "In tests": ("lockstep.testing.equivalence.assert_equivalent", "lockstep.testing.goldens.assert_golden"),
    "TensorFlow's switches": ("lockstep.switching.asking.switches",),
    "The guide's tools": (
        "lockstep.frameworks.tensorflow.randomness.DeterministicRandomTestTool",
        "lockstep.frameworks.tensorflow.guards.assert_no_variable_creations",
        "lockstep.frameworks.tensorflow.guards.catch_and_raise_created_variables",
        "lockstep.frameworks.tensorflow.guards.VariableCreationError",
    ),
    "TF1 code on Keras 3": (
        "lockstep.tf1.tracking.track_tf1_style_variables",
        "lockstep.tf1.tracking.get_or_create_layer",
        "lockstep.tf1.tracking.VariableScopeLayer",
        "lockstep.tf1.store.VariableStore",
        "lockstep.tf1.enabling.enable",
        "lockstep.tf1.enabling.disable",
        "lockstep.tf1.package_imports.give_tensorflow_1_to",
    ),
    "Errors": ("lockstep.common.errors",),
}
_LINK = re.compile(r"\[(?P<text>[^\]\[]+)\]\((?P<target>[^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Makes the navigation of what there is."""
    docs = Path(config["docs_dir"])
    guides = [file.name for file in sorted(docs.glob("*.md"))]
    pitfalls = [
        f"pitfalls/{file.name}" for file in sorted((docs / "pitfalls").glob("*.md")) if file.name != "README.md"
    ]
    config["nav"] = [
        {"Lockstep": "index.md"},
        {"Guides": guides},
        {"Pitfalls": ["pitfalls/README.md", *pitfalls]},
        {"Examples": list(_examples().values())},
        {"API reference": "api.md"},
        {"How it works": [f"design/{file.name}" for file in sorted((docs / "design").glob("*.md"))]},
        {"Project": ["changelog.md", "contributing.md", "security.md"]},
    ]
    return config


def on_files(files: Any, *, config: Any) -> Any:
    """Adds the pages that lie outside of `docs/`."""
    from mkdocs.structure.files import File

    for source, target in {**ELSEWHERE, **_examples()}.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text("utf-8")))
    files.append(File.generated(config, "api.md", content=api()))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Turns links that leave `docs/` to where the page is in the site."""
    del config
    here = page.file.src_uri
    source = next((path for path, target in {**ELSEWHERE, **_examples()}.items() if target == here), f"docs/{here}")
    known = {file.src_uri for file in files}
    return _LINK.sub(lambda found: relinked(found["text"], found["target"], source, here, known), markdown)


def relinked(text: str, target: str, source: str, here: str, known: set[str]) -> str:
    """Returns a link of a page as it has to be in the site.

    Args:
        text: What is shown.
        target: Where it leads, relative to the file.
        source: The file, from the top of the repository.
        here: The page, from the top of the site.
        known: The pages and files of the site.

    Example:
        >>> relinked("noise", "docs/design/noise.md#a", "README.md", "index.md", {"design/noise.md"})
        '[noise](design/noise.md#a)'
        >>> relinked("its code", "src/a.py", "SECURITY.md", "security.md", set())
        'its code (`src/a.py`)'
    """
    path, mark, anchor = target.partition("#")
    if not path or ":" in path:
        return f"[{text}]({target})"
    absolute = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    pages = {**ELSEWHERE, **_examples()}
    there = pages.get(absolute) or pages.get(f"{absolute}/README.md") or absolute.removeprefix("docs/")
    if there not in known:
        return text if text.strip("`") == absolute else f"{text} (`{absolute}`)"
    return f"[{text}]({posixpath.relpath(there, posixpath.dirname(here) or '.')}{mark}{anchor})"


def api() -> str:
    """Returns the page of the API reference, which mkdocstrings fills from the docstrings."""
    parts = ["# API reference\n"]
    for heading, names in API.items():
        parts += [f"## {heading}\n", *(f"::: {name}\n    options:\n      heading_level: 3\n" for name in names)]
    return "\n".join(parts)


def _examples() -> dict[str, str]:
    found = sorted((ROOT / "examples").glob("*/README.md"))
    return {path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix() for path in found}
