"""Puts into every page of `docs/pitfalls/` what a report says of the pitfall's pair, and writes the index.

Run `python tools/pitfall_pages.py` after a change of what causes say; `--only SLUG` renews one page.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockstep.results.model import Culprit

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "pitfalls"
WIDTH = 100
_EXCERPT = re.compile(r"(?<=^```text\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
_SOURCE = re.compile(r"   \S*pitfall_pairs\.py:\d+")
_INDEX = """# Pitfalls

What goes wrong when a TF1 model is migrated, one page each: what it looks like in a report, why it happens, the fix,
and how Lockstep makes sure before it says so. The excerpts are printed by the pairs of models in
`tests/integration/pitfall_pairs.py` (source lines left out), and a test runs all of them.

| pitfall | what goes wrong |
| --- | --- |
"""


def excerpt(culprits: tuple[Culprit, ...], slug: str) -> str:
    """Returns what a report says of the first culprit that has this pitfall."""
    from lockstep.report.text import as_text
    from lockstep.results.model import Report, Verdict

    chosen = tuple(culprit for culprit in culprits if culprit.pitfall == slug)[:1]
    text = as_text(Report(Verdict.DIVERGED, (), chosen, {"reference": {}, "candidate": {}}, 0.0), width=WIDTH)
    lines = text.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("culprit 1 of"))
    stripped = [_SOURCE.sub("", line).rstrip() for line in lines[start:-1]]
    return "".join(f"{line}\n" for line in stripped if line)


def main() -> None:
    """Renews the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only")
    only = parser.parse_args().only
    sys.path.insert(0, str(ROOT))
    from lockstep import tf1
    from lockstep.results.pitfalls import SUMMARIES

    tf1.enable()
    from tests.integration.pitfall_pairs import PAIRS

    for slug, pair in PAIRS.items():
        if only in (None, slug):
            page = PAGES / f"{slug}.md"
            fresh = excerpt(pair.culprits(), slug)
            page.write_text(_EXCERPT.sub(lambda _, fresh=fresh: fresh, page.read_text("utf-8"), count=1), "utf-8")
    rows = "".join(f"| [{slug}]({slug}.md) | {summary} |\n" for slug, summary in SUMMARIES.items())
    (PAGES / "README.md").write_text(_INDEX + rows, "utf-8")


if __name__ == "__main__":
    main()
