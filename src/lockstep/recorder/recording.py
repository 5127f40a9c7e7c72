"""Builds a TF1 subject in every mode that is asked for, runs it, and writes what it did into a trace."""

import os
import platform
import time
from typing import Any, Callable, Dict, List, Mapping, Optional

import numpy as np
import tensorflow as tf

from ..ground import fill, patterns, restoring, training, trials
from ..ground.failures import RecordingError, said
from ..ground.folder import TraceReader, TraceWriter
from ..ground.records import FLAGS, ONLY_INPUT, VariableRecord
from ..ground.structure import same_bits
from . import graph, keras2, keras2_optimizing, keras_layers, operations, optimizing, originals, taps, train_op
from .randomness import GraphSeeds
from .worker import SubjectError

Say = Callable[[str], None]


def record(code: Any, inputs: Mapping[str, np.ndarray], request: Mapping[str, Any], say: Say) -> None:
    """Carries out a request.

    Args:
        code: The user's functions, a `worker.UsersCode`.
        inputs: Input name -> array.
        request: `target`, `replace`, `nonce`, `label`, `runtime` (`"tf1"` or `"keras2"`), `entry`, `loss`,
            `optimizer`, `folder`, `single_input`;
            `builds`, each with `training`, `randomness`, `settings`, and `differentiated` where gradients are wanted;
            `original`, as of `originals.adapted`, or null; `own_loss`, `own_optimizer`, whether it states them itself;
            `fill_names`; `taps` with `patterns` and `max_bytes`, or null; `given`, a folder with the `values` of the
            setting `"given"` by name, or null; `notes`.
        say: Told what is being done.
    """
    with TraceWriter(request["target"], replace=bool(request.get("replace"))) as writer:
        body: Dict[str, Any] = {
            "subject": {
                "label": request["label"],
                "runtime": request["runtime"],
                "entry": request["entry"],
                "loss": request.get("loss", ""),
                "optimizer": request.get("optimizer", ""),
            },
            "own": {kind: bool(request.get("own_" + kind)) for kind in ("loss", "optimizer")},
            "single_input": bool(request["single_input"]),
            "inputs": writer.add(inputs),
            "environment": environment(),
            "key": request.get("key"),
            "nonce": request.get("nonce"),
        }
        builds = []  # type: List[Dict[str, Any]]
        builder = _builder(request, inputs)
        for build in request["builds"]:
            with code.fresh() as functions:
                builds.append(_build(writer, functions, inputs, request, build, builder, say))
        compiled = [build.pop("compiled") for build in builds]
        if request.get("optimizer") or request.get("own_optimizer") or all(compiled):
            with code.fresh() as functions:
                make = _maker(functions, inputs, request)
                body["optimizer"] = _optimizer(writer, _applied_by(request, make), builds[-1]["variables"], say)
        if request["runtime"] == "keras2":
            body["environment"].update({"keras": keras_layers.version()} if keras_layers.version() else {})
        body.update(builds=builds, files=code.files(), code_note=code.note)
        say("writing the manifest")
        writer.finish(body)


def rerun(request: Mapping[str, Any], say: Say) -> None:
    """Runs an exported graph with given values: to see what other kernels, or another TensorFlow, make of it.

    Args:
        request: `graph`, a trace with the graph, its names, `values` and `inputs`; `target`.
        say: Told what is being done.
    """
    given = TraceReader(request["graph"], numpy_dtype)
    body = given.body
    say("importing the graph")
    model = graph.imported(
        given.file(body["graph"]), body["input_names"], body["output_names"], body["training"], body.get("objective")
    )
    values, inputs = (
        {name: given.tensor(entry) for name, entry in body[group].items()} for group in ("values", "inputs")
    )
    say("running the graph")
    got = model.run(values, inputs, differentiated=model.objective is not None)
    total = {} if got.total_loss is None else {"": got.total_loss}
    with TraceWriter(request["target"]) as writer:
        groups = {"outputs": got.outputs, "after": got.after, "total": total, "gradients": got.gradients}
        groups["training_loss"] = {} if got.training_loss is None else {"": got.training_loss}
        writer.finish(writer.add_groups(groups))


def environment() -> Dict[str, Any]:
    """Describes what the numbers depend on besides the program; no path and no name of the machine."""
    return {
        "python": platform.python_version(),
        "tensorflow": getattr(tf, "__version__", "unknown"),
        "numpy": np.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_features": _cpu_features(),
        "cpus": os.cpu_count(),
        "graph_optimizations": False,
        "flags": {name: os.environ[name] for name in FLAGS if name in os.environ},
    }


def numpy_dtype(name: str) -> Any:
    """Returns the dtype of that name; bfloat16 is TensorFlow's own."""
    return np.dtype(tf.bfloat16.as_numpy_dtype if name == "bfloat16" else name)


def _build(  # noqa: PLR0913, PLR0917 - called once, and each is what it is
    writer: TraceWriter, functions: Any, inputs: Any, request: Any, build: Any, builder: Any, say: Say
) -> Dict[str, Any]:  # fmt: skip
    mode = "%s mode, %s" % ("training" if build["training"] else "inference", build["randomness"])
    say("building %s" % mode)
    try:
        model, seeds = builder(functions["entry"], build["training"], lambda: GraphSeeds(mode=build["randomness"]))
    except (RecordingError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise SubjectError("building (%s)" % mode) from error
    loss = functions.get("loss") or (training.OWN_LOSS if request.get("own_loss") else None)
    note = _differentiated(model, loss, mode) if build.get("differentiated") else ""
    description = {
        "training": build["training"],
        "randomness": build["randomness"],
        "variables": [list(record) for record in model.variables],
        "draws": [list(draw) for draw in model.draws],
        "seeds_taken": seeds.taken,
        "inputs": {name: tensor.name for name, tensor in model.inputs.items()},
        "outputs": {path: tensor.name for path, tensor in model.outputs.items()},
        "objective": None if model.objective is None else model.objective.names(),
        "objective_note": note,
        "compiled": model.compiled,
        "notes": list(model.notes),
        "skipped_updates": list(model.skipped_updates),
        "runs": [],
    }  # type: Dict[str, Any]
    make = functions.get("optimizer")
    if make is None and model.compiled:
        make = _maker(functions, inputs, request)
    if build.get("trajectory") and model.objective is not None and (make or model.train_op is not None):
        description["trajectory"] = _trajectory(
            writer, model, inputs, _applied_by(request, make), build["trajectory"], say
        )
    description.update(_exported(writer, model, "graph-%d.pb" % len(os.listdir(writer.folder))))
    if build.get("operations"):
        forward_pass = operations.forward_pass(model.inputs.values(), model.outputs.values())
        description["operations"] = [list(operations.describe(op, request["folder"])) for op in forward_pass]
    for setting in build["settings"]:
        say("running %s, %s values" % (mode, setting))
        wanted = request.get("taps") if setting in build.get("tapped", ()) else None
        try:
            names, given = request.get("fill_names"), request.get("given")
            filling = heeded(model.variables, request.get("ignore") or ())
            description["runs"].append(_run(writer, model, inputs, setting, names, wanted, given, filling, say))
        except (RecordingError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise SubjectError("running (%s)" % mode) from error
    description["drawn"] = list(model.drawn)
    return description


def _builder(request: Any, inputs: Any) -> Callable[..., Any]:
    """Returns what builds the graph of a mode, for the runtime of a request: the entry, training, seeds -> both."""
    given = inputs[ONLY_INPUT] if request["single_input"] else inputs
    if request["runtime"] == "keras2":
        return keras2.Builder(given, lambda: GraphSeeds(mode="num_random_ops")).build

    def build(entry: Any, training: bool, seeds: Callable[[], GraphSeeds]) -> Any:
        used = seeds()
        return graph.build(originals.adapted(entry, request.get("original")), given, training, used), used

    return build


def _maker(functions: Any, inputs: Any, request: Any) -> Callable[[], Any]:
    """Returns what makes the optimizer: the user's function, or the program or the compiled model that states one."""
    named = functions.get("optimizer")  # type: Optional[Callable[[], Any]]
    if named is not None:
        return named
    if request["runtime"] == "keras2":
        return lambda: keras2.optimizer_of(functions["entry"])
    return _own_optimizer(functions["entry"], inputs, request)


def _differentiated(model: Any, loss: Any, mode: str) -> str:
    """Adds the gradients of the training loss; returns why there are none, or an empty string."""
    try:
        model.differentiate(loss)
    except RecordingError as error:
        if loss is not None:
            raise
        return str(error)
    except LookupError as error:  # an operation without a gradient
        return "the graph cannot be differentiated (%s)" % error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise SubjectError("taking gradients (%s)" % mode) from error
    return ""


def _run(  # noqa: PLR0913, PLR0917 - called once, and each is what it is
    writer: TraceWriter, model: Any, inputs: Any, setting: str, names: Any, wanted: Any, given: Any, filling: Any,
    say: Say
) -> Dict[str, Any]:  # fmt: skip
    values = _given(model.variables, given) if setting == "given" else filled(filling, setting, names)
    plan = taps.plan(model, wanted["patterns"], wanted["max_bytes"]) if wanted else taps.Plan([], {}, [])
    start = time.time()
    first = model.run(values, inputs, plan.blocks[0] if plan.blocks else (),
                      differentiated=model.objective is not None)  # fmt: skip
    duration = time.time() - start
    tapped = writer.add(first.taps)
    first = first._replace(taps={})  # a block may be as large as the memory bound
    differing: List[str] = []
    for place, block in enumerate(plan.blocks[1:], 2):
        say("recording taps, block %d of %d" % (place, len(plan.blocks)))
        again = model.run(first.before, inputs, block)
        differing += [path for path, value in again.outputs.items() if not same_bits(value, first.outputs[path])]
        tapped.update(writer.add(again.taps))
    filled_by = {} if setting == "given" else {key: (names or {}).get(key, key) for key in values}
    return dict(
        writer.add_run(setting, filled_by, first),
        taps=tapped,
        tap_aliases={alias: name for alias, name in plan.aliases.items() if name in tapped},
        untapped=plan.unreachable,
        differing_between_blocks=sorted(set(differing)),
        duration_s=duration,
    )


def heeded(variables: Any, ignore: Any) -> List[Any]:
    """Returns the records of the variables in whose names none of the patterns is found."""
    ignored = [patterns.finder(pattern) for pattern in ignore]
    return [record for record in variables if not any(found(record.name) for found in ignored)]


def filled(variables: Any, setting: str, names: Optional[Mapping[str, str]]) -> Dict[str, np.ndarray]:
    """Returns the values that a setting gives to the floating variables; none for `"initial"`.

    Args:
        variables: Records of the variables.
        setting: `"initial"`, `"constant"` or `"distinct"`.
        names: Variable key -> the name that its distinct values are a hash of; by default the key itself.
    """
    if setting == "initial":
        return {}
    values = {}
    for record in variables:
        if fill.takes_values(record.dtype):
            name = (names or {}).get(record.key, record.key)
            values[record.key] = fill.values(setting, name, record.shape, numpy_dtype(record.dtype))
    return values


def _given(variables: Any, folder: str) -> Dict[str, np.ndarray]:
    """Returns the values of a checkpoint for the variables that it fits; the rest start from their initializers.

    What does not fit is told by whoever asked, who knows the inventory afterwards.
    """
    reader = TraceReader(folder, numpy_dtype)
    entries = reader.body["values"]
    held = {name: restoring.Held(tuple(entry["shape"]), entry["dtype"]) for name, entry in entries.items()}
    sources = restoring.match(variables, held).sources
    return {key: restoring.value(s, lambda name: reader.tensor(entries[name])) for key, s in sources.items()}


def _own_optimizer(function: Any, inputs: Mapping[str, np.ndarray], request: Mapping[str, Any]) -> Callable[[], Any]:
    """Returns what makes the optimizer that the program itself applies."""
    original = originals.adapted(function, request.get("original"))
    given = inputs[ONLY_INPUT] if request["single_input"] else inputs
    return train_op.optimizer_of(lambda: original.anew(given))


def _applied_by(request: Any, make: Any) -> Any:
    """Returns what makes an optimizer that can be applied, of variables' shapes: in a graph, or as Keras 2 has it."""
    applied = keras2_optimizing.make if request["runtime"] == "keras2" else optimizing.GraphOptimizer
    return lambda shapes: applied(make, shapes)


def _optimizer(writer: TraceWriter, applied: Any, variables: Any, say: Say) -> Optional[Dict[str, Any]]:
    """Records how an optimizer goes through the trial of the model's trainable variables; None of what cannot."""
    say("running the optimizer")
    shapes = trials.shapes_of([VariableRecord(*fields) for fields in variables], numpy_dtype)
    try:
        optimizer = applied(shapes)
        steps = trials.probes(optimizer.turning_points())
        rates = optimizer.learning_rates(steps)
        done = trials.updates(optimizer, trials.trial(shapes))
        optimizer.close()
    except train_op.NotAloneError as error:
        say("its optimizer is not tried by itself: %s" % error)
        return None
    except (RecordingError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise SubjectError("running its optimizer") from error
    return {
        "description": optimizer.description,
        "rates": [[step, rates[step]] for step in sorted(rates)],
        "updates": [
            dict(writer.add_groups({"variables": one.variables, "slots": one.slots}), step=one.step) for one in done
        ],
    }


def _trajectory(writer: TraceWriter, model: Any, inputs: Any, applied: Any, count: int, say: Say) -> Dict[str, Any]:
    """Records training steps, and how far the same training drifts if it starts one unit in the last place away."""
    say("training for %d steps" % count)

    def run(values: Any) -> Any:
        return model.run(values, inputs, differentiated=True)

    try:
        start = model.run({}, inputs).before
        count = training.affordable(start, count)
        steps, moved = (
            training.train(run, applied, values, count)
            if model.train_op is None
            else train_op.train(model, inputs, values, count, run)
            for values in (start, training.moved(start))
        )
    except (RecordingError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise SubjectError("training") from error
    return {
        "steps": [
            {
                "run": dict(writer.add_run("trajectory", {}, step.run), duration_s=0.0),
                "update": writer.add(step.update.variables),
                "step": step.update.step,
            }
            for step in steps
        ],
        "own_drift": [training.drift(one.values, other.values) for one, other in zip(steps, moved)],
    }


def _exported(writer: TraceWriter, model: Any, name: str) -> Dict[str, Any]:
    """Exports the graph for another TensorFlow to run; what cannot be exported is said, and is no failure."""
    try:
        content = graph.export(model)
    except Exception as error:  # what the exporter raises is not documented; a graph of over 2 GB is one reason
        return {
            "graph": None,
            "graph_note": "the graph cannot be exported (%s: %s)" % (type(error).__name__, said(error)),
        }
    return {"graph": writer.add_file(name, content)}


def _cpu_features() -> List[str]:
    """Lists the instruction sets that kernels are chosen by, where the system tells (Linux)."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return []
    return sorted(set(flags.split()) & {"avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile",
                                        "asimd", "sve"})  # fmt: skip
