"""`python -m benchmarks.nine_steps`: every right migration here, in all nine steps, with TensorFlow 1.15 beside it.

Each model gets a folder of its own with its files, a loss, an optimizer, a checkpoint that TensorFlow 1.15 has written,
and a `lockstep.toml`; then `lockstep check` runs there as a user runs it. Exit status: 0 if every step of every model
is equivalent, 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.zoo.catalogue import BUILT_IN, MIGRATIONS, Exhibit, load

from lockstep.config import make_inputs, reading
from lockstep.environments import EnvironmentSpec, inherited_variables, provide

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES = ("mlp", "lstm_text", "decoder", "inception_resnet_v2")
STEPS = ("variables-created-once", "variables-match", "inference-fixed", "inference-random", "training-random",
         "checkpoint", "gradients", "optimizer", "trajectory")  # fmt: skip
TRAINING_STEPS = 20
INCEPTION_STEPS = 3
"""Of the guide's network, whose recorded steps are large: fewer are compared where fewer fit in memory."""


@dataclass(frozen=True)
class Model:
    """One migration: how its folder is made, apart from what all have in common.

    Attributes:
        name: What the table calls it.
        files: The Python files that its folder gets.
        configuration: Its `lockstep.toml` without training and checkpoint.
        written: Further files: name -> text.
        arrays: Inputs that the configuration reads from files, input name -> array; None where it makes them itself.
        steps: How many training steps are compared.
    """

    name: str
    files: tuple[Path, ...]
    configuration: str
    written: Mapping[str, str]
    arrays: Mapping[str, np.ndarray] | None = None
    steps: int = TRAINING_STEPS


def examples() -> Iterator[Model]:
    """Yields the examples, as they are configured with TensorFlow 1.15."""
    for name in EXAMPLES:
        folder = ROOT / "examples" / name
        text = (folder / "lockstep-tf115.toml").read_text(encoding="utf-8")
        steps = INCEPTION_STEPS if name == "inception_resnet_v2" else TRAINING_STEPS
        if name == "inception_resnet_v2":  # the guide's ones make every variance zero, and its gradient infinite
            text = text.replace('fill = "ones"', 'fill = "uniform"').replace("[1, 299", "[2, 299")
        yield Model(f"examples/{name}", tuple(folder.glob("*.py")), text, {}, steps=steps)


def exhibits() -> Iterator[Model]:
    """Yields the right migrations of the zoo's families; the guide's network is among the examples."""
    for exhibit in load(BUILT_IN).values():
        if exhibit.family.slow:
            continue
        for migration in MIGRATIONS:
            yield _of_zoo(exhibit, migration)


def _of_zoo(exhibit: Exhibit, migration: str) -> Model:
    file, _, function = exhibit.family.reference.rpartition(":")
    reference = (exhibit.folder / file).resolve()
    rename = ", ".join(json.dumps(list(rule)) for rule in exhibit.rename(migration))
    requirements = json.dumps(list(exhibit.family.requirements))
    configuration = textwrap.dedent(
        f"""
        [reference]
        runtime = "tf1"
        entry = "{reference.name}:{function}"
        python = "3.7"
        requirements = {requirements}

        [candidate]
        runtime = "keras"
        entry = "migrated.py:build"

        [variables]
        rename = [{rename}]
        """
    )
    arrays = exhibit.arrays()
    configuration += "".join(f'\n[inputs."{name}"]\npath = "{name}.npy"\n' for name in arrays)
    build = (
        "from benchmarks.zoo.catalogue import BUILT_IN, load\n\n"
        f"build = load(BUILT_IN)[{exhibit.name!r}].build({migration!r})\n"
    )
    return Model(f"{exhibit.name}/{migration}", (reference,), configuration, {"migrated.py": build}, arrays)


def prepare(model: Model, folder: Path) -> None:
    """Makes a model's folder: files, inputs, configuration, and the checkpoint, written where the reference runs."""
    for file in (*model.files, HERE / "training.py"):
        shutil.copy(file, folder)
    for name, text in model.written.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, array in (model.arrays or {}).items():
        np.save(folder / f"{name}.npy", array)
    configuration = folder / "lockstep.toml"
    text = model.configuration
    for side, maker in (("reference", "legacy_optimizer"), ("candidate", "migrated_optimizer")):
        text = text.replace(f"[{side}]", f'[{side}]\noptimizer = "training.py:{maker}"', 1)
    top = f'loss = "training.py:loss"\ntrajectory = {model.steps}\n\n'
    configuration.write_text(top + text, encoding="utf-8")
    reference = reading.parsed(configuration)["reference"]
    np.savez(folder / "inputs.npz", **make_inputs(reading.read(configuration)))
    environment = provide(EnvironmentSpec(reference["python"], tuple(reference["requirements"])), say=lambda _: None)
    command = [environment.python, HERE / "save_checkpoint.py", folder, reference["entry"], folder / "inputs.npz",
               folder / "model.ckpt"]  # fmt: skip
    done = subprocess.run(command, env=inherited_variables(), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{model.name}: the checkpoint could not be written:\n{done.stderr[-2000:]}")
    configuration.write_text(top + text + '\n[checkpoint]\npath = "model.ckpt"\n', encoding="utf-8")


def check(folder: Path) -> dict[str, Any]:
    """Runs `lockstep check` there and returns its report; `{"error": ...}` where it made none."""
    environment = {**inherited_variables(), "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT)))}
    command = [sys.executable, "-m", "lockstep", "check", str(folder), "--json", "-"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1, 2) or not done.stdout.strip():
        return {"error": done.stderr.strip()[-2000:]}
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def main() -> int:
    """Checks what is asked for and prints a line for each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nine_steps", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", metavar="REGEX", help="only models whose name it is found in")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole reports there")
    options = parser.parse_args()
    chosen = [m for m in (*examples(), *exhibits()) if re.search(options.only, m.name)]
    if not chosen:
        print("no model has such a name", file=sys.stderr)
        return 2
    reports: dict[str, Any] = {}
    good = True
    width = max(len(model.name) for model in chosen)
    for model in chosen:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="lockstep-nine-") as place:
            prepare(model, Path(place))
            report = check(Path(place))
        reports[model.name] = report
        told = {step["name"]: step for step in report.get("steps", ()) if step["name"] in STEPS}
        others = [f"{name}: {step['verdict']}, {step['summary']}" for name, step in told.items()
                  if step["verdict"] != "equivalent"]  # fmt: skip
        passed = set(told) == set(STEPS) and not others
        good = good and passed
        count = sum(step["verdict"] == "equivalent" for step in told.values())
        print(f"{model.name:<{width}}  {count} of {len(STEPS)} steps equivalent  {time.perf_counter() - start:6.0f} s",
              *others, *([report["error"]] if "error" in report else []), sep="\n    ", flush=True)  # fmt: skip
        if options.json:
            options.json.write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
