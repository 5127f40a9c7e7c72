"""Runs a graph's nodes as TensorFlow's executor does, one after the other: frames, rounds and dead branches included.

TensorFlow 1's control flow is a matter of which tensors arrive where (Abadi et al., "TensorFlow: a system for
large-scale machine learning", OSDI 2016, section 3.4): `Switch` lets its input through on one side and makes the other
one dead, `Merge` passes on what arrives alive, `Enter` leads into a loop's frame, `NextIteration` into its next round
and `Exit` out of it. What a node computes is none of this module's business, which knows no framework.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

DEAD: Any = object()
"""What arrives from a branch that was not taken."""

_SWITCHES = frozenset({"Switch", "RefSwitch"})
_MERGES = frozenset({"Merge", "RefMerge"})
_ENTERS = frozenset({"Enter", "RefEnter"})
_EXITS = frozenset({"Exit", "RefExit"})
_NEXT = frozenset({"NextIteration", "RefNextIteration"})
_PASSING = _ENTERS | _EXITS | _NEXT | {"LoopCond"}
_CONTROL = -1


@dataclass(frozen=True)
class Node:
    """One operation of a graph.

    Attributes:
        type: What it does, `"Switch"`.
        inputs: The node and its output that each input comes from; nodes are numbered in the order of the program.
        controls: The nodes that must have run before.
        outputs: How many outputs it has.
        frame: Of an `Enter`, the name of the frame that it leads into.
        invariant: Of an `Enter`, whether it gives the same in every round.
    """

    type: str
    inputs: tuple[tuple[int, int], ...]
    controls: tuple[int, ...]
    outputs: int
    frame: str = ""
    invariant: bool = False


class Steps(Protocol):
    """What nodes compute."""

    def compute(self, node: int, inputs: Sequence[Any]) -> Sequence[Any]:
        """Returns the outputs of a node."""
        ...

    def truth(self, value: Any) -> bool:
        """Tells which side of a `Switch` is taken."""
        ...

    def count(self, number: int) -> Any:
        """Returns the value of a number: which input a `Merge` passed on."""
        ...


class Dataflow:
    """A graph, or the part of it that is needed.

    Args:
        nodes: Number -> node; all that they read from is among them.
    """

    def __init__(self, nodes: Mapping[int, Node]) -> None:
        self.nodes = nodes
        self.readers: dict[int, list[tuple[int, int, int]]] = {number: [] for number in nodes}
        self.enters: dict[str, list[int]] = {}
        for number, node in nodes.items():
            for place, (producer, output) in enumerate(node.inputs):
                self.readers[producer].append((output, number, place))
            for producer in node.controls:
                self.readers[producer].append((_CONTROL, number, _CONTROL))
            if node.type in _ENTERS:
                self.enters.setdefault(node.frame, []).append(number)

    def conditional(self) -> set[int]:
        """Returns the nodes that may run never or more than once: those in frames, and on a side of a `Switch`.

        How deep a node is in branches and frames follows from what it reads; what leads out of a loop closes what
        leads into it.
        """
        depths: dict[int, int] = {}
        for number in self._in_order():
            node = self.nodes[number]
            before = [*(producer for producer, _ in node.inputs), *node.controls]
            depth = max((depths[producer] for producer in before if producer in depths), default=0)
            depths[number] = max(0, depth + self._deeper(node))
        return {number for number, depth in depths.items() if depth}

    def _in_order(self) -> list[int]:
        """Returns the nodes so that each comes after what it reads in its round.

        The order of the program is not enough: what leads a tensor into a loop or a branch is made when it is read
        there, so after its reader.
        """
        waiting = dict.fromkeys(self.nodes, 0)
        for number, node in self.nodes.items():
            if node.type not in _NEXT:
                for _, reader, _ in self.readers[number]:
                    waiting[reader] += 1
        order = [number for number, count in waiting.items() if not count]
        for number in order:  # grows on the way
            if self.nodes[number].type in _NEXT:
                continue
            for _, reader, _ in self.readers[number]:
                waiting[reader] -= 1
                if not waiting[reader]:
                    order.append(reader)
        return order

    def _deeper(self, node: Node) -> int:
        if node.type in _SWITCHES | _ENTERS:
            return 1
        if node.type in _EXITS:  # out of the frame and of the `Switch` before it
            return -2
        # The `Merge` that begins a round ends no branch; one of its inputs is from the round before.
        looping = any(self.nodes[producer].type in _ENTERS | _NEXT for producer, _ in node.inputs)
        return -1 if node.type in _MERGES and not looping else 0

    def run(self, steps: Steps, wanted: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Any]:
        """Runs all nodes, those that may run in the order of their numbers, and lets go of what was read.

        Args:
            steps: What the nodes compute.
            wanted: The outputs to be returned, node and output.
        """
        return _Run(self, steps, set(wanted)).run()


@dataclass(slots=True)
class _State:
    """A node of one round that waits for its inputs."""

    inputs: list[Any]
    waiting: int
    dead: bool = False
    fired: bool = False
    dead_inputs: int = 0


@dataclass(slots=True)
class _Frame:
    parent: _Frame | None
    round: int
    prefix: tuple[int, ...]
    waiting_enters: int
    rounds: dict[int, dict[int, _State]] = field(default_factory=lambda: {0: {}})
    invariants: list[tuple[int, Any]] = field(default_factory=list)
    children: dict[tuple[int, str], _Frame] = field(default_factory=dict)
    key: tuple[int, str] = (0, "")
    outstanding: int = 0
    dead_exits: set[int] = field(default_factory=set)
    live_exits: set[int] = field(default_factory=set)

    @property
    def done(self) -> bool:
        return self.parent is not None and not (self.outstanding or self.waiting_enters or self.children)


class _Run:
    def __init__(self, flow: Dataflow, steps: Steps, wanted: set[tuple[int, int]]) -> None:
        self._flow, self._nodes, self._steps, self._wanted = flow, flow.nodes, steps, wanted
        self._ready: list[tuple[tuple[int, ...], int, _Frame, int, int, _State]] = []
        self._pushed = 0
        self._results: dict[tuple[int, int], Any] = {}

    def run(self) -> dict[tuple[int, int], Any]:
        root = _Frame(None, 0, (), 0)
        for number, node in self._nodes.items():
            if not node.inputs and not node.controls:
                self._push(root, 0, number, _State([], 0))
        while self._ready:
            _, _, frame, round_, number, state = heapq.heappop(self._ready)
            outputs = self._outputs(number, state)
            for place, value in enumerate(outputs):
                if value is not DEAD and (number, place) in self._wanted:
                    self._results[number, place] = value
            self._propagate(frame, round_, number, outputs, state.dead)
            frame.outstanding -= 1
            self._finish(frame)
        return self._results

    def _outputs(self, number: int, state: _State) -> Sequence[Any]:
        node = self._nodes[number]
        if state.dead:
            return [DEAD] * node.outputs
        if node.type in _MERGES:
            taken = next(place for place, value in enumerate(state.inputs) if value is not None)
            value, state.inputs = state.inputs[taken], []
            return [value, self._steps.count(taken)]
        if node.type in _SWITCHES:
            value, predicate = state.inputs
            return [DEAD, value] if self._steps.truth(predicate) else [value, DEAD]
        if node.type in _PASSING:
            return state.inputs
        return self._steps.compute(number, state.inputs)

    def _propagate(self, frame: _Frame, round_: int, number: int, outputs: Sequence[Any], dead: bool) -> None:
        node = self._nodes[number]
        if node.type in _ENTERS:
            self._enter(frame, round_, number, outputs)
        elif node.type in _EXITS:
            if dead:
                frame.dead_exits.add(number)
            else:
                frame.live_exits.add(number)
                assert frame.parent is not None
                self._hand_on(frame.parent, frame.round, number, outputs, dead)
        elif node.type in _NEXT:
            if not dead:
                self._begin_round(frame, round_ + 1)
                self._hand_on(frame, round_ + 1, number, outputs, dead)
        else:
            self._hand_on(frame, round_, number, outputs, dead)

    def _enter(self, frame: _Frame, round_: int, number: int, outputs: Sequence[Any]) -> None:
        node = self._nodes[number]
        key = (round_, node.frame)
        inner = frame.children.get(key)
        if inner is None:
            enters = self._flow.enters[node.frame]
            # Behind the last that enters: else rounds that need little would run ahead of those that enter late.
            prefix = (*frame.prefix, round_, max(enters)) if frame.parent else (max(enters),)
            inner = frame.children[key] = _Frame(frame, round_, prefix, len(enters), key=key)
        dead = outputs[0] is DEAD
        if node.invariant:
            inner.invariants.append((number, outputs[0]))
            for begun in list(inner.rounds):
                self._hand_on(inner, begun, number, outputs, dead)
        else:
            self._hand_on(inner, 0, number, outputs, dead)
        inner.waiting_enters -= 1
        self._finish(inner)

    def _begin_round(self, frame: _Frame, round_: int) -> None:
        if round_ not in frame.rounds:
            frame.rounds[round_] = {}
            for number, value in frame.invariants:
                self._hand_on(frame, round_, number, [value], value is DEAD)

    def _hand_on(self, frame: _Frame, round_: int, number: int, outputs: Sequence[Any], dead: bool) -> None:
        for output, reader, place in self._flow.readers[number]:
            value = (DEAD if dead else None) if output == _CONTROL else outputs[output]
            self._arrive(frame, round_, reader, place, value, number)

    def _arrive(self, frame: _Frame, round_: int, number: int, place: int, value: Any, giver: int) -> None:
        states, node = frame.rounds[round_], self._nodes[number]
        state = states.get(number)
        merges = node.type in _MERGES
        if state is None:
            waiting = len(node.controls) + (0 if merges else len(node.inputs))
            state = states[number] = _State([None] * len(node.inputs), waiting)
        if merges:
            self._arrive_at_merge(frame, round_, number, state, (place, value, giver))
            return
        if place != _CONTROL:
            state.inputs[place] = value
        if value is DEAD and node.type != "ControlTrigger":
            state.dead = True
        state.waiting -= 1
        if not state.waiting:
            del states[number]
            self._push(frame, round_, number, state)

    def _arrive_at_merge(
        self, frame: _Frame, round_: int, number: int, state: _State, arriving: tuple[int, Any, int]
    ) -> None:
        place, value, giver = arriving
        if state.fired:
            return
        node = self._nodes[number]
        if place == _CONTROL:
            state.waiting -= 1
        elif value is DEAD:
            # A loop on a branch that was not taken is entered by dead tensors only, and its next round never comes.
            entering = self._nodes[giver].type in _ENTERS
            state.dead_inputs += len(node.inputs) if entering else 1
        elif all(known is None for known in state.inputs):
            state.inputs[place] = value
        alive = any(known is not None for known in state.inputs)
        if not state.waiting and (alive or state.dead_inputs >= len(node.inputs)):
            state.fired, state.dead = True, not alive
            self._push(frame, round_, number, state)

    def _push(self, frame: _Frame, round_: int, number: int, state: _State) -> None:
        frame.outstanding += 1
        self._pushed += 1
        place = (*frame.prefix, round_, number) if frame.parent else (number,)
        heapq.heappush(self._ready, (place, self._pushed, frame, round_, number, state))

    def _finish(self, frame: _Frame) -> None:
        """Closes a frame in which nothing is left to do: exits that no round took are dead outside of it."""
        while frame.done:
            parent = frame.parent
            assert parent is not None
            for number in sorted(frame.dead_exits - frame.live_exits):
                self._hand_on(parent, frame.round, number, [DEAD], True)
            del parent.children[frame.key]
            frame = parent
