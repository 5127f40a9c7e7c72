"""Streaming metrics of a graph, `tf.metrics`: value, update operation, local variables; fed with recorded outputs."""

from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple

import numpy as np
import tensorflow as tf

from ..ground.failures import RecordingError
from ..ground.folder import TraceReader, TraceWriter
from ..ground.streaming import Course, Seen, packed_seen, rebuilt, unpacked
from .operations import leading_to

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)

Pairs = Dict[str, Tuple[Any, Any]]
_READS = ("VarHandleOp", "VariableV2", "Variable")
_FORM = "it must return pairs (value, update_op), as tf.metrics gives them: one, or a dict of them by name"


class Feeds:
    """Placeholders, or other tensors of the graph, that a batch is given to.

    Attributes:
        outputs: Path of an output -> tensor.
        inputs: Name of an input -> tensor.
    """

    def __init__(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        self.outputs, self.inputs = outputs, inputs

    def fed(self, batch: Any) -> Dict[Any, np.ndarray]:
        """Returns what a session is given."""
        found = {tensor: batch.outputs[path] for path, tensor in self.outputs.items()}
        found.update({tensor: batch.inputs[name] for name, tensor in self.inputs.items()})
        return found


def of_function(function: Callable[..., Any], courses: List[Course]) -> List[Seen]:
    """Builds `function(outputs, batch)` in a graph of its own and has it go through courses.

    Raises:
        RecordingError: It returns something else than metrics.
    """
    first = courses[0].batches[0]
    with tf.Graph().as_default():
        feeds = Feeds(open_placeholders(first.outputs), open_placeholders(first.inputs))
        given = feeds.inputs[""] if list(feeds.inputs) == [""] else dict(feeds.inputs)
        pairs = named_pairs(function(rebuilt(feeds.outputs), given))
        return run(pairs, feeds, courses)


def answer(code: Any, inputs: Mapping[str, np.ndarray], request: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Carries out a request about metrics.

    Args:
        code: The user's functions, a `worker.UsersCode`.
        inputs: Input name -> array, which a program of its own is built for.
        request: `courses`, as `packed`, with their arrays in the folder `given`; `target`; `original`.
        say: Told what is being done.
    """
    from . import originals
    from .recording import numpy_dtype
    from .worker import SubjectError

    reader = TraceReader(request["given"], numpy_dtype)
    courses = unpacked(request["courses"], {key: reader.tensor(entry) for key, entry in reader.body["given"].items()})
    say("updating its metrics")
    with code.fresh() as functions:
        try:
            if "metrics" in functions:
                seen: Optional[List[Seen]] = of_function(functions["metrics"], courses)
            else:
                original: Any = originals.adapted(functions["entry"], request["original"])
                seen = original.evaluated(inputs, courses)
        except RecordingError:
            raise
        except Exception as error:
            raise SubjectError("computing its metrics") from error
    told, arrays = packed_seen(seen or [])
    with TraceWriter(request["target"]) as writer:
        writer.finish({"seen": None if seen is None else told, "arrays": writer.add(arrays)})


def named_pairs(returned: Any) -> Pairs:
    """Returns metrics by their names; those without one are called as their scopes.

    Raises:
        RecordingError: They are none.
    """
    if isinstance(returned, Mapping):
        found = dict(returned)
    elif _is_pair(returned):
        found = {_scope(returned[0]): returned}
    elif isinstance(returned, (list, tuple)) and returned and all(_is_pair(one) for one in returned):
        found = {_scope(one[0]): one for one in returned}
    else:
        raise RecordingError("the metrics function returned a %s; %s." % (type(returned).__name__, _FORM))
    wrong = [name for name, pair in found.items() if not _is_pair(pair)]
    if wrong or not found:
        what = "no metric" if not found else "a %s for %s" % (type(found[wrong[0]]).__name__, wrong[0])
        raise RecordingError("the metrics function returned %s; %s." % (what, _FORM))
    return found


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(hasattr(one, "graph") for one in value)


def _scope(value: Any) -> str:
    return str(value.name).partition("/")[0].partition(":")[0]


def open_placeholders(arrays: Mapping[str, np.ndarray]) -> Dict[str, Any]:
    """Makes a placeholder for each array, for any number of rows."""
    made = {}
    for number, (key, array) in enumerate(arrays.items()):
        shape = [None] + list(array.shape[1:]) if array.ndim else []
        made[key] = v1.placeholder(tf.as_dtype(array.dtype), shape, name="given_%d" % number)
    return made


def needed(tensor: Any, cut: Set[Any]) -> List[Any]:
    """Returns the operations that a tensor or operation needs where other tensors are fed."""
    fed = {(one.op.name, one.value_index) for one in cut}
    found: Dict[str, Any] = {}
    waiting = [getattr(tensor, "op", tensor)]
    if hasattr(tensor, "op") and (tensor.op.name, tensor.value_index) in fed:
        return []
    while waiting:
        op = waiting.pop()
        if op.name in found:
            continue
        found[op.name] = op
        waiting += [one.op for one in op.inputs if (one.op.name, one.value_index) not in fed]
        waiting += list(op.control_inputs)
    return list(found.values())


def run(pairs: Pairs, feeds: Feeds, courses: List[Course]) -> List[Seen]:
    """Has metrics of the default graph go through courses.

    Args:
        pairs: Metric -> value and update operation.
        feeds: What batches are given to.
        courses: The courses.
    """
    values = {name: pair[0] for name, pair in pairs.items()}
    updates = [pair[1] for pair in pairs.values()]
    states = _states(pairs)
    reset, start = v1.local_variables_initializer(), v1.global_variables_initializer()
    seen = []
    with v1.Session() as session:
        session.run(start)
        for course in courses:
            after, held, alone = [], [], []
            session.run(reset)
            for batch in course.batches:
                session.run(updates, feeds.fed(batch))
                value, state = session.run([values, states])
                after.append(value)
                held.append(state)
            for batch in course.batches:
                session.run(reset)
                session.run(updates, feeds.fed(batch))
                alone.append(session.run(values))
            seen.append(Seen(after, held, alone))
    return seen


def refuse_others(pairs: Pairs, feeds: Feeds) -> None:
    """Refuses metrics that need more of the model than the predictions that are given to them.

    Raises:
        RecordingError: One does.
    """
    cut = set(feeds.outputs.values())
    local = {variable.op.name for variable in v1.local_variables()}
    steps = {step.op.name for step in v1.get_default_graph().get_collection(v1.GraphKeys.GLOBAL_STEP)}
    for name, (_, update) in pairs.items():
        model = sorted(op.name for op in needed(update, cut) if op.type in _READS and op.name not in local | steps)
        if model:
            raise RecordingError(
                "the metric %s is computed from a tensor that is no prediction (it needs the variable %s); make that "
                "tensor a prediction of model_fn, in EVAL mode too, or name a function: [metrics] reference."
                % (name, model[0])
            )


def _states(pairs: Pairs) -> Dict[str, Any]:
    """Returns `metric: state` -> local variable that the metric's update needs."""
    local = {variable.op.name: variable for variable in v1.local_variables()}
    found = {}
    for name, (_, update) in pairs.items():
        read = {op.name for op in leading_to([update]) if op.type in _READS}
        for variable in sorted(read & set(local)):
            found["%s: %s" % (name, variable.rpartition("/")[2])] = local[variable].value()
    return found
