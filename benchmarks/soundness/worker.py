"""A process that checks what it is told on standard input, one JSON object a line; run by `pool`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO


def main() -> None:
    """Answers requests until standard input ends."""
    # Whatever is printed meanwhile shall not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import tensorflow as tf

    # As many processes run as there are cores; for tensors this small, more threads only wait for each other.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.get_logger().setLevel("ERROR")
    _serve(sys.stdin, answers)


def _serve(requests: TextIO, answers: TextIO) -> None:
    from benchmarks.soundness import checking

    known: dict[str, checking.Mutants] = {}
    pairs = checking.all_pairs()
    cases: dict[str, dict[str, Any]] = {}

    def of_pair(name: str) -> checking.Mutants:
        if name not in known:
            known.clear()
            known[name] = checking.Mutants(pairs[name])
        return known[name]

    def of_part(part: str) -> dict[str, Any]:
        if part not in cases:
            cases[part] = {case.name: case for case in checking.listed(part)}
        return cases[part]

    for line in requests:
        request = json.loads(line)
        part, name = request["part"], request.get("name", "")
        if request["do"] == "list" and part == "mutants":
            answer: Any = of_pair(name).families
        elif request["do"] == "list":
            answer = {one.name: one.kind for one in of_part(part).values()}
        elif part == "mutants":
            pair, _, mutant = name.partition("|")
            answer = of_pair(pair).check(mutant).as_json()
        else:
            answer = checking.check_case(part, of_part(part)[name]).as_json()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
