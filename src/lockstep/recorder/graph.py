"""A TF1-style function, or an exported graph, as something that can be run: TensorFlow 1.12 to 2.21."""

import re
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple, Union

import numpy as np
import tensorflow as tf

from ..ground.failures import RecordingError
from ..ground.records import LossRecord, VariableRecord
from ..ground.structure import changed, flatten, unique_keys
from . import graph_losses, objective, operations, optimizer_variables, originals, train_op
from .generators import Generators
from .keras_layers import Watch
from .randomness import loops_in_order

# TensorFlow 1.12 has no tf.compat.v1: it is one itself.
v1 = getattr(tf.compat, "v1", tf)
Run = NamedTuple(
    "Run",
    [
        ("before", Dict[str, np.ndarray]),
        ("outputs", Dict[str, np.ndarray]),
        ("losses", Tuple[LossRecord, ...]),
        ("total_loss", Optional[np.ndarray]),
        ("after", Dict[str, np.ndarray]),
        ("taps", Dict[str, np.ndarray]),
        ("training_loss", Optional[np.ndarray]),
        ("gradients", Dict[str, np.ndarray]),
        ("unconnected", Tuple[str, ...]),
    ],
)
"""What one run gave: variables before, outputs, losses, their sum, variables that the run changed, tapped tensors; of a
differentiated run the training loss, its gradients, and the variables that it does not depend on."""

WRITING = re.compile("Assign.*VariableOp$|ResourceScatter")
"""The types of operations that write a resource variable."""
_WITH_ROUNDS = frozenset({"Enter", "RefEnter", "While", "StatelessWhile"})


class GraphModel:
    """One graph with its inputs and outputs.

    Args:
        graph: The graph; its collections hold the variables, losses and update operations.
        inputs: Input name -> placeholder.
        outputs: Path in the returned structure -> tensor.
        training: Whether the operations in `UPDATE_OPS` run along, as every TF1 training loop has them do.

    Attributes:
        variables: The inventory, in order of creation.
        draws: The random operations, in the order of the program.
        updates: What runs along with the outputs, in training mode.
        objective: The training loss and its gradients, once `objective.differentiate` has added them.
        returned: What `forward` returned, as it was nested; None of an imported graph.
        generators: NumPy's and Python's generators as the build left them; each run goes on from there.
        drawn: How far they came in the build and a run; see `Generators.drawn`.
        given: What `forward` was given: a dict of placeholders, or one; None of an imported graph.
        loss: The training loss that the program itself states, a tensor; None where it states none.
        train_op: The training step that the program itself makes; None where it makes none.
        notes: What is to be told of the program.
        skipped_updates: Names of the operations in `UPDATE_OPS` that the program's training step does not run.
        limit_s: Seconds after which a run of a graph from elsewhere is ended; None for any other.
        compiled: Whether it is that of a Keras 2 model that was compiled with an optimizer.
    """

    def __init__(self, graph: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any], training: bool) -> None:
        self.graph, self.inputs, self.outputs, self.training = graph, dict(inputs), dict(outputs), training
        self.objective: Optional[objective.Objective] = None
        self.returned: Any = None
        self.generators = Generators()
        self.drawn = ("", "")
        self.given: Any = None
        self.limit_s: Optional[float] = None
        self.compiled = False
        self.loss: Any = None
        self.train_op: Any = None
        self.notes: Tuple[str, ...] = ()
        self.skipped_updates: Tuple[str, ...] = ()
        with graph.as_default():
            everything = list(v1.global_variables()) + list(v1.local_variables())
            of_optimizers = optimizer_variables.names_in(graph)
            self._raw = [variable for variable in everything if variable.op.name not in of_optimizers]
            self._unrecorded = [variable for variable in everything if variable.op.name in of_optimizers]
            # One that is not reduced is added to the training loss element by element.
            self._collected = graph_losses.collected(graph)
            self._losses = [loss if loss.shape.ndims == 0 else tf.reduce_sum(loss) for loss in self._collected]
            self._total = [tf.add_n(self._losses)] if self._losses else []
            self.updates = list(v1.get_collection(v1.GraphKeys.UPDATE_OPS)) if training else []
        for variable in everything:
            _make_trainable_bool(variable)
        names = [variable.op.name for variable in self._raw]
        targets = list(self.outputs.values()) + self._losses + self.updates
        self.draws = operations.draws(graph, everything, targets)
        self.draw_in_order()
        self._owners = operations.loss_owners(self._losses, names)
        regularized = set(self._owners)
        self.variables = tuple(
            VariableRecord(name, key, _shape(v), v.dtype.base_dtype.name, _is_trainable(v, graph), name in regularized)
            for v, name, key in zip(self._raw, names, unique_keys(names))
        )

    @property
    def added_losses(self) -> List[Any]:
        """What is added to a training loss: all losses but those that belong to no variable and are outputs too."""
        returned = {_source(tensor).name for tensor in self.outputs.values()}
        owned = zip(self._collected, self._owners)
        return [loss for loss, owner in owned if owner is not None or _source(loss).name not in returned]

    @property
    def raw_variables(self) -> List[Any]:
        """The variables themselves, in the order of `variables`."""
        return list(self._raw)

    def draw_in_order(self) -> None:
        """Has loops with draws run one round after the other; otherwise rounds may overtake each other when they draw.

        Nothing but the order of the rounds rests on `parallel_iterations`.
        """
        if any(draw.repeated for draw in self.draws):
            for op in self.graph.get_operations():
                if op.type in _WITH_ROUNDS and op.get_attr("parallel_iterations") != 1:
                    op._set_attr("parallel_iterations", v1.AttrValue(i=1))

    def differentiate(self, loss: Optional[Callable[[Any, Any], Any]]) -> None:
        """Adds the training loss and its gradients, once; see `objective.differentiate`."""
        if self.objective is None:
            if loss is not None and self.returned is None and self.loss is None:
                raise RecordingError("this graph was recorded without its loss; record it anew with it.")
            self.objective = objective.differentiate(self, loss)
            self.draw_in_order()  # the gradients add what enters the same loops

    def run(
        self,
        values: Mapping[str, np.ndarray],
        inputs: Mapping[str, np.ndarray],
        taps: Iterable[Any] = (),
        config: Any = None,
        differentiated: bool = False,
    ) -> Run:
        """Runs the graph once in a session of its own, so that every random operation starts anew.

        Args:
            values: Variable key -> value to start from; the others start from their initializers.
            inputs: Input name -> array.
            taps: Tensors to be fetched along.
            config: The session's; None for that of `session_config`.
            differentiated: Whether the training loss and its gradients are computed along.
        """
        keys = [record.key for record in self.variables]
        feed = {self.inputs[name]: array for name, array in inputs.items() if name in self.inputs}
        tapped = list(taps)
        wanted = self.objective if differentiated else None
        connected = {} if wanted is None else wanted.connected
        if wanted is not None:
            feed.update(objective.cotangents_of(wanted, self._output_shapes(values, inputs)))
        backward = [] if wanted is None else [wanted.loss] + list(connected.values())
        fetches = [list(self.outputs.values()), self._losses, self._total, tapped, self.updates, backward]
        config = session_config(0) if config is None else config
        if self.limit_s is not None:
            config.operation_timeout_in_ms = int(self.limit_s * 1000)
        generators = self.generators.copy()
        with generators.active(), v1.Session(graph=self.graph, config=config) as session:  # it may call Python
            self._initialize(session, values, feed)
            before = dict(zip(keys, session.run(self._raw))) if keys else {}
            outputs, losses, total, tap_values, _, differentials = session.run(fetches, feed)
            after: Dict[str, np.ndarray] = {}
            if self.training and keys:
                after = changed(before, dict(zip(keys, session.run(self._raw))))
        self.drawn = generators.drawn()
        return Run(
            before=before,
            outputs={path: np.asarray(value) for path, value in zip(self.outputs, outputs)},
            losses=tuple(LossRecord(owner, np.asarray(value)) for owner, value in zip(self._owners, losses)),
            total_loss=np.asarray(total[0]) if total else None,
            after=after,
            taps={tensor.name: np.asarray(value) for tensor, value in zip(tapped, tap_values)},
            training_loss=np.asarray(differentials[0]) if differentials else None,
            gradients={key: np.asarray(value) for key, value in zip(connected, differentials[1:])},
            unconnected=() if wanted is None else tuple(k for k in wanted.gradients if k not in connected),
        )

    def _output_shapes(
        self, values: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]
    ) -> Dict[str, Tuple[int, ...]]:
        if all(tensor.shape.is_fully_defined() for tensor in self.outputs.values()):
            return {path: _shape(tensor) for path, tensor in self.outputs.items()}
        # A run of its own: within the same session the random operations would go on to their next numbers.
        return {path: value.shape for path, value in self.run(values, inputs).outputs.items()}

    def step(
        self, values: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray], hidden: Mapping[str, np.ndarray]
    ) -> Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]:
        """Runs the program's own training step once, in a session of its own.

        Args:
            values: Variable key -> value to start from.
            inputs: Input name -> array.
            hidden: Name of a variable of the training alone -> value to start from, likewise; others are initialized.

        Returns:
            What both kinds of variables hold afterwards.
        """
        feed = {self.inputs[name]: array for name, array in inputs.items() if name in self.inputs}
        generators = self.generators.copy()
        with generators.active(), v1.Session(graph=self.graph, config=session_config(0)) as session:
            self._initialize(session, values, feed, hidden)
            session.run(self.train_op, feed)
            after, left = session.run([self._raw, self._unrecorded])
        keys, names = [r.key for r in self.variables], [v.op.name for v in self._unrecorded]
        return dict(zip(keys, after)), dict(zip(names, left))

    def _initialize(
        self,
        session: Any,
        values: Mapping[str, np.ndarray],
        feed: Mapping[Any, Any],
        hidden: Optional[Mapping[str, np.ndarray]] = None,
    ) -> None:
        keyed = list(zip((record.key for record in self.variables), self._raw))
        if hidden:  # their names are no keys of variables of the model
            keyed += [(variable.op.name, variable) for variable in self._unrecorded]
            values = dict(values, **hidden)
        initialized = [v for key, v in keyed if key not in values] + ([] if hidden else self._unrecorded)
        session.run([v.initializer for v in initialized], feed)
        with self.graph.as_default():
            session.run(v1.tables_initializer())
        # Feeding the tensor that initializes a variable sets it without adding operations to the graph. All in one
        # run, as each set of fetches costs a pruning of the whole graph; two variables may share that tensor, and
        # then the second waits for another run.
        waiting = [(v.initializer, v.initializer.inputs[1], values[key]) for key, v in keyed if key in values]
        while waiting:
            now = {tensor.name: (assign, tensor, value) for assign, tensor, value in reversed(waiting)}
            session.run([assign for assign, _, _ in now.values()], {tensor: value for _, tensor, value in now.values()})
            done = {assign.name for assign, _, _ in now.values()}
            waiting = [entry for entry in waiting if entry[0].name not in done]


def build(
    forward: Union[Callable[..., Any], originals.Original], inputs: Any, training: bool, seeds: Any
) -> GraphModel:  # fmt: skip
    """Builds the graph of `forward(inputs, training)`.

    Args:
        forward: The user's function `forward(inputs, training)`, or another `originals.Original`.
        inputs: Input name -> array; or one array, for which `forward` gets one tensor.
        training: What it is called with.
        seeds: A `GraphSeeds`, or a `DeterministicRandomTestTool`.

    Raises:
        RecordingError: It returned something that is no tensor.
    """
    original = forward if isinstance(forward, originals.Original) else originals.Forward(forward)
    graph = tf.Graph()
    generators = Generators()
    made = v1.variable_creator_scope(generators.create_variable)
    with graph.as_default(), seeds.scope(), loops_in_order(), generators.active(), made:
        placeholders, given = original.placeholders(inputs)
        watch = Watch(graph, training, placeholders)
        with watch.open(), optimizer_variables.noted() as optimizers:
            asked = originals.Asked(placeholders, given, inputs, training)
            stated = original.build(asked)
        watch.collect()
        stated = original.completed(stated, asked)
        tensors = _tensors(stated.outputs)
        skipped = train_op.settle(graph, stated, tensors)
        losses, updates = graph_losses.collected(graph), graph.get_collection(v1.GraphKeys.UPDATE_OPS)
        needed = list(tensors.values()) + losses + list(updates) + ([] if stated.loss is None else [stated.loss])
        optimizer_variables.collect(graph, optimizers, needed)
        model = GraphModel(graph, stated.inputs, tensors, training)
        model.returned, model.given, model.generators = stated.outputs, stated.given, generators
        model.loss, model.train_op, model.notes = stated.loss, stated.train_op, stated.notes
        model.skipped_updates = skipped if training else ()
        return model


def export(model: GraphModel) -> bytes:
    """Returns the graph with its collections, for another TensorFlow or another process to run.

    Raises:
        Exception: Whatever the exporter raises, which is not documented; a graph of over 2 GB is one reason.
    """
    with model.graph.as_default():
        meta_graph = v1.train.export_meta_graph(graph=model.graph, clear_devices=True)
        for key in (v1.GraphKeys.GLOBAL_VARIABLES, v1.GraphKeys.LOCAL_VARIABLES):
            definitions = meta_graph.collection_def  # asked for a key that it lacks it would take it in
            written = len(definitions[key].bytes_list.value) if key in definitions else 0
            there = len(v1.get_collection(key))
            if there != written:  # the exporter logs a warning and leaves the whole collection out
                raise RecordingError("TensorFlow writes %d of its %d %s" % (written, there, key.replace("_", " ")))
    exported: bytes = meta_graph.SerializeToString()
    return exported


def imported(
    content: Any,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    training: bool,
    objective_names: Optional[Mapping[str, Any]] = None,
) -> GraphModel:
    """Builds an exported graph.

    Args:
        content: As `export` gave it, or parsed.
        inputs: Input name -> name of the placeholder.
        outputs: Path -> name of the tensor.
        training: Whether the operations in `UPDATE_OPS` run along.
        objective_names: As `Objective.names` gave them, where the graph was differentiated.
    """
    if isinstance(content, bytes):
        content = parsed(content)
    graph = tf.Graph()
    with graph.as_default():
        v1.train.import_meta_graph(content)
        tensor = graph.get_tensor_by_name
        model = GraphModel(
            graph,
            {name: tensor(place) for name, place in inputs.items()},
            {path: tensor(place) for path, place in outputs.items()},
            training,
        )
        if objective_names is not None:
            model.objective = objective.named(graph, objective_names)
        return model


def parsed(content: bytes) -> Any:
    """Returns the MetaGraphDef that bytes hold.

    Raises:
        RecordingError: They hold none.
    """
    exported = v1.MetaGraphDef()
    try:
        exported.ParseFromString(content)
    except Exception:  # protobuf's own class, of which each implementation has another
        raise RecordingError("the exported graph is damaged.")
    return exported


def _source(tensor: Any) -> Any:
    """Returns the tensor that another one is a copy of."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def _shape(variable: Any) -> Tuple[int, ...]:
    if variable.shape.ndims is None:
        return (-1,)
    return tuple(-1 if size is None else int(size) for size in variable.shape.as_list())


def _is_trainable(variable: Any, graph: Any) -> bool:
    trainable = getattr(variable, "trainable", None)  # TensorFlow 1.12 does not tell
    if trainable is None:
        return any(v is variable for v in graph.get_collection(v1.GraphKeys.TRAINABLE_VARIABLES))
    return bool(trainable)


def _make_trainable_bool(variable: Any) -> None:
    """Makes a flag out of what TF1 took for one: the name in `tf.Variable(value, "name")`.

    The exporter leaves out all variables of a graph in which one has another kind of flag.
    """
    trainable = getattr(variable, "trainable", None)
    if trainable is not None and not isinstance(trainable, bool):
        variable._trainable = bool(trainable)


def _tensors(outputs: Any) -> Dict[str, Any]:
    tensors = {}
    for path, leaf in flatten(outputs):
        try:
            tensors[path] = tf.convert_to_tensor(leaf)
        except (TypeError, ValueError) as error:
            raise RecordingError(
                "output %s is a %s; forward must return tensors, in a tuple, list or dict if there are several."
                % (path or "(the only one)", type(leaf).__name__)
            ) from error
    return tensors


def session_config(threads: int) -> Any:
    """Makes a session compute what the program says, operation by operation, without Grappler's rewriting.

    Fused operations round differently, and a tapped tensor keeps a fusion from happening: with rewriting, recording
    would change what is recorded. Without it a graph computes bit for bit what its operations compute eagerly.
    """
    config = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config
