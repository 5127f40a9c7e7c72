"""Text from elsewhere as it may be shown: names, labels and messages are printed, never obeyed.

A terminal obeys control characters: `ESC ] 0 ;` sets its title, others move the cursor over what was printed before.
Characters that turn the direction of writing make one name look like another.
"""

from __future__ import annotations

import re

# C0 but for tabulator and line feed, DEL and C1; what turns the direction of writing (Unicode TR 9), what separates
# lines and paragraphs; and halves of surrogate pairs, which no encoding has.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    r"""Returns a text with its control characters written out.

    >>> shown("a\x1b[31mb\tc\n")
    'a\\x1b[31mb\tc\n'
    """
    return _OBEYED.sub(_written_out, text)


def shown_in_a_line(text: str) -> str:
    r"""Returns what `shown` does, with line feeds and tabulators written out too: for a name that heads a report.

    >>> shown_in_a_line("a\nverdict  equivalent")
    'a\\nverdict  equivalent'
    """
    return shown(text).replace("\n", r"\n").replace("\t", r"\t")


def shown_in_json(text: str) -> str:
    r"""Returns JSON that says the same, in which control characters are written out; those below 32 are so already.

    >>> shown_in_json('"\x9b1m"')
    '"\\u009b1m"'
    """
    return _OBEYED.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _written_out(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
