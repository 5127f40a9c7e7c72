"""`python -m benchmarks.zoo`: how often Lockstep finds a planted mistake, and names it, and is silent about none.

Exit status: 0 if every planted bug was detected and every right migration found equivalent, 1 if not, 2 if the zoo
cannot be run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.zoo.catalogue import BUILT_IN, MIGRATIONS, Exhibit, ZooError, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what is asked for."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options = _parser().parse_args(arguments)
    try:
        exhibits = _chosen(load(options.zoo), options.family, slow=not options.no_slow)
        wanted = re.compile(options.bug)
    except (ZooError, re.error) as error:
        print(error, file=sys.stderr)
        return 2
    from benchmarks.zoo import running, table

    if options.process_setting == "one-thread":
        running.use_one_thread()
    settings = [options.process_setting] if options.process_setting else options.setting or list(running.SETTINGS)
    plan = running.Plan(
        exhibits,
        migrations=tuple(dict.fromkeys(options.migration or MIGRATIONS)),
        settings=() if options.no_right else tuple(dict.fromkeys(settings)),
        bugs=not options.no_bugs,
        wanted=lambda name: wanted.search(name) is not None,
        zoo=options.zoo,
        unseen=not options.seen,
    )
    if not plan.pairs() or not (plan.settings or plan.planted()):
        print("nothing in the zoo is asked for", file=sys.stderr)
        return 2
    runner = running.Runner(options.reference, fixed=options.fixed_tolerance)
    run = running.run_here if options.process_setting else running.run
    outcomes = []
    say = _progress if sys.stderr.isatty() else lambda _: None
    try:
        for outcome in run(plan, runner, say):
            outcomes.append(outcome)
            if options.json:
                _write(options.json, table.as_json(outcomes, options.reference))
    finally:
        say("")
    print("\n".join(table.lines(outcomes)))
    passed = all(o.detected if o.bug else o.verdict == "equivalent" for o in outcomes)
    return 0 if passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__.partition("\n")[0])
    parser.add_argument("--family", action="append", default=[], help="only this one; may be given again")
    parser.add_argument("--migration", action="append", choices=MIGRATIONS, help="only this one")
    parser.add_argument(
        "--bug", default="", metavar="REGEX", help="only bugs whose family/migration/name it is found in"
    )
    parser.add_argument(
        "--reference", choices=("tf115", "graph"), default="graph", help="where the reference runs (default: graph)"
    )
    parser.add_argument(
        "--setting", action="append", choices=("default", "ones", "one-thread", "no-onednn"),
        help="check the right migrations under this setting only",
    )  # fmt: skip
    parser.add_argument(
        "--seen", action="store_true", help="leave out bugs that are not looked at while rules are made"
    )
    parser.add_argument("--no-bugs", action="store_true", help="check the right migrations only")
    parser.add_argument("--no-right", action="store_true", help="check the planted bugs only")
    parser.add_argument("--no-slow", action="store_true", help="leave out families whose checks take minutes")
    parser.add_argument("--fixed-tolerance", action="store_true", help="let the fixed tolerance judge alone")
    parser.add_argument("--zoo", type=Path, default=BUILT_IN, metavar="FOLDER", help="another zoo, laid out alike")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every check there, as they are done")
    # How this program asks itself for a setting that holds for a whole process.
    parser.add_argument("--process-setting", help=argparse.SUPPRESS)
    return parser


def _chosen(zoo: dict[str, Exhibit], names: Sequence[str], *, slow: bool) -> list[Exhibit]:
    unknown = [name for name in names if name not in zoo]
    if unknown:
        raise ZooError(f"the zoo has no family {unknown[0]!r}; there are: {', '.join(zoo)}.")
    chosen = [zoo[name] for name in dict.fromkeys(names)] if names else list(zoo.values())
    return [exhibit for exhibit in chosen if slow or not exhibit.family.slow]


def _write(file: Path, content: dict[str, object]) -> None:
    """Writes a file that is whole at any time."""
    new = file.with_name(file.name + ".new")
    new.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    new.replace(file)


def _progress(text: str) -> None:
    sys.stderr.write(f"\r\033[K{text}")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
