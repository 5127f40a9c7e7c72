"""Writes proposed rules into the `lockstep.toml` that they are for; what stands there, comments included, stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lockstep.common.errors import InputError

if TYPE_CHECKING:
    from lockstep.report.rules import Table


def with_rules(text: str, rules: Table) -> str:
    r"""Returns a configuration with rules put into its `[variables]`, before those that are there.

    Of rules the first that is found in a name applies, and the proposed ones were found beside those that are there.

    Args:
        text: The configuration.
        rules: `[variables]` by its keys.

    Raises:
        InputError: The text is no TOML, or its `[variables]` is no table.

    >>> print(with_rules("batches = 2  # two\n", {"rename": [["^old/", "new/"]]}), end="")
    batches = 2  # two
    <BLANKLINE>
    [variables]
    rename = [["^old/", "new/"]]
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        if "variables" not in document:
            document.add("variables", tomlkit.table())
        table: Any = document["variables"]
        for key, added in rules.items():
            before = table.get(key, [])
            table[key] = _array([*added, *before])
    except (TOMLKitError, AttributeError, TypeError) as error:
        raise InputError(f"the rules cannot be put into [variables]: {error}. Paste them by hand.") from error
    written: str = tomlkit.dumps(document)
    return written


def _array(rules: list[Any]) -> Any:
    import tomlkit

    array = tomlkit.array()
    for rule in rules:
        array.append(rule)
    array.multiline(len(rules) > 1)
    return array
