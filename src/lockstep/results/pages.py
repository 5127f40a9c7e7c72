"""The documentation that comes with Lockstep: a page for each pitfall, and those of `docs/`.

An installed wheel carries them; a checkout has them beside `src/`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lockstep.common.errors import InputError
from lockstep.common.values import shown
from lockstep.results.pitfalls import SUMMARIES

_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_MOST = 4  # near names that are told


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        name: What it is asked for by: `"epsilon"`, `"checkpoints"`, `"design/noise"`.
        summary: What it is about, in one line.
        file: The Markdown file.
        pitfall: Whether it is about a pitfall.
    """

    name: str
    summary: str
    file: Path
    pitfall: bool

    def text(self) -> str:
        """Returns its Markdown.

        Raises:
            InputError: The file cannot be read.
        """
        try:
            return self.file.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"{self.file}: {error.strerror}.") from error


def folder() -> Path:
    """Returns where the documentation lies.

    Raises:
        InputError: There is none.
    """
    package = Path(__file__).resolve().parents[1]
    for place in (package / "docs", package.parents[1] / "docs"):
        if (place / "pitfalls").is_dir():
            return place
    raise InputError(
        "this installation of Lockstep came without its documentation; install it from a wheel, or use a checkout."
    )


def pages() -> Mapping[str, Page]:
    """Returns name -> page: the pitfalls first, in alphabetical order, then all others."""
    top = folder()
    found: dict[str, Page] = {
        slug: Page(slug, summary, top / "pitfalls" / f"{slug}.md", True) for slug, summary in SUMMARIES.items()
    }
    for file in [*sorted(top.glob("*.md")), *sorted(top.glob("design/*.md"))]:
        name = file.relative_to(top).with_suffix("").as_posix()
        title = _TITLE.search(file.read_text(encoding="utf-8"))
        found[name] = Page(name, title[1] if title else name, file, False)
    return found


def page(name: str) -> Page:
    """Returns the page of a name; `noise` is `design/noise` where no other page is called so.

    Raises:
        InputError: There is none; the nearest names, and those of pages about it, are told.
    """
    known = pages()
    wanted = name.strip().lower().removesuffix(".md")
    wanted = wanted.removeprefix("docs/").removeprefix("pitfalls/").replace(" ", "-")
    for candidate in (wanted, f"design/{wanted}", wanted.replace("_", "-")):
        if candidate in known:
            return known[candidate]
    near = near_names(wanted, known)
    hint = f"; did you mean {_or(near)}?" if near else "; `lockstep explain` lists them all."
    raise InputError(f"there is no page {shown(name)}{hint}")


def near_names(word: str, known: Mapping[str, Page]) -> list[str]:
    """Returns the names that are spelt alike, then those of pages about the word; else those that hold it most."""
    if not 2 < len(word) <= 100:
        return []
    spelt = difflib.get_close_matches(word, list(known), n=_MOST, cutoff=0.7)
    about = [name for name, each in known.items() if word in f"{name} {each.summary}".lower().replace(" ", "-")]
    if not spelt and not about:
        counts = {name: each.text().lower().count(word) for name, each in known.items()}
        about = sorted((name for name, count in counts.items() if count), key=lambda name: -counts[name])
    return list(dict.fromkeys([*spelt, *about]))[:_MOST]


def _or(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
