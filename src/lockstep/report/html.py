"""The report as one HTML page that needs nothing else: style, script and pictures are inside, and nothing is fetched.

Names and texts come from models that others wrote. Jinja escapes them, control characters are written out
(`lockstep.shown`), what the script reads is JSON in which no tag can end, and a Content-Security-Policy lets no script
and no style run but this page's own, known by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from lockstep.common.errors import InputError, nearest
from lockstep.common.shown import shown
from lockstep.report import view
from lockstep.report.view import CodeLine
from lockstep.results import pages
from lockstep.results.pitfalls import SLUGS

if TYPE_CHECKING:
    from lockstep.elsewhere.recorded import RecordedSubject
    from lockstep.report.switches import SwitchReport
    from lockstep.results.model import Report

_UNSAFE_IN_SCRIPTS = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def as_html(report: Report, *, title: str = "lockstep check") -> str:
    """Returns the page of a check.

    Args:
        report: The report; what nobody collected for it (`evidence`) is left out.
        title: The command that it answers.
    """
    return _page("check.html.j2", page=view.view_of(report, title=title))


def as_fragment(report: Report) -> str:
    """Returns what a notebook shows: verdict, steps and culprits, without any script."""
    style = Markup(_file("fragment.css"))
    page = view.view_of(report, title="lockstep")
    return _environment().get_template("fragment.html.j2").render(page=page, style=style)


def switches_as_html(report: SwitchReport) -> str:
    """Returns the page of `lockstep switches`."""
    from lockstep.report.switches_view import view_of

    return _page("switches.html.j2", page=view_of(report))


def trace_as_html(subject: RecordedSubject) -> str:
    """Returns the page of `lockstep show`."""
    from lockstep.report.trace_view import view_of

    return _page("trace.html.j2", page=view_of(subject))


def pitfall_page(slug: str) -> str:
    """Returns the text of a pitfall's page, in Markdown; empty where this installation came without it.

    Raises:
        ValueError: There is no such pitfall.
    """
    if slug not in SLUGS:
        raise ValueError(f"there is no pitfall {slug!r}{nearest(slug, SLUGS)}")
    try:
        return pages.page(slug).text()
    except InputError:
        return ""


def _page(template: str, **values: Any) -> str:
    style, script = _file("report.css"), _file("report.js")
    policy = (
        f"default-src 'none'; style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            policy=policy,
            style=Markup(style),
            script=Markup(script),
            **values,
        )
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _file(name: str) -> str:
    return (resources.files("lockstep.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lockstep.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    environment.filters["json"] = json_for_script
    environment.filters["breakable"] = _breakable
    environment.globals["pitfall"] = _pitfall
    environment.globals["code"] = _highlighted
    return environment


def _finalized(value: Any) -> Any:
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def json_for_script(value: Any) -> Markup:
    r"""Returns JSON that may stand in a `<script>` element: no character in it can end that.

    >>> print(json_for_script(["</script>"]))
    ["\u003c/script\u003e"]
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_UNSAFE_IN_SCRIPTS))


def _breakable(name: str) -> Markup:
    """Returns a name that may be broken behind its slashes, and nowhere else unless it has to be."""
    return Markup("/<wbr>").join(shown(name).split("/"))  # joining escapes the parts


def _pitfall(slug: str) -> Markup:
    """Returns a pitfall's page without its title and the report that it begins with."""
    if slug not in SLUGS:  # a report that a later version wrote may know others
        return Markup("")
    reader = MarkdownIt("commonmark", {"html": False}).disable(["link", "image", "autolink"])
    tokens = reader.parse(pitfall_page(slug))
    first = next((n for n, token in enumerate(tokens) if token.type == "fence"), -1)
    html = reader.renderer.render(tokens[first + 1 :], reader.options, {})
    return Markup(html)


def _highlighted(lines: tuple[CodeLine, ...]) -> list[tuple[CodeLine, Markup]]:
    """Returns the lines of an excerpt with their HTML."""
    text = "\n".join(shown(line.text) for line in lines)
    html = highlight(text, PythonLexer(stripnl=False, ensurenl=False), HtmlFormatter(nowrap=True))
    told = html.split("\n")[: len(lines)]
    return [(line, Markup(one)) for line, one in zip(lines, told, strict=True)]
