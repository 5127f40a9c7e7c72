"""What a graph is built by: a function `forward`, or a program that also states its loss and its training step."""

from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from . import placeholders

Stated = NamedTuple(
    "Stated",
    [
        ("outputs", Any),
        ("given", Any),
        ("inputs", Dict[str, Any]),
        ("labels", Optional[Tuple[str, ...]]),
        ("loss", Any),
        ("train_op", Any),
        ("notes", Tuple[str, ...]),
    ],
)
"""What a built program states: outputs as they are nested; what a user's loss is given as the batch; input name ->
placeholder; which inputs are labels (empty: nobody said; None: of a plain `forward`); the training loss and the
training step, or None; what is to be told."""

Asked = NamedTuple("Asked", [("made", Dict[str, Any]), ("given", Any), ("inputs", Any), ("training", bool)])
"""What a program is built for: input name -> placeholder, as `Original.placeholders` made them; the same as the user's
function is given them; the arrays; the mode."""


class Original:
    """A program that can be built in a graph.

    Args:
        function: The user's function.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def placeholders(self, inputs: Any) -> Tuple[Dict[str, Any], Any]:
        """Makes the placeholders that the program is given; none where it makes its own."""
        raise NotImplementedError

    def build(self, asked: Asked) -> Stated:
        """Builds it in the default graph.

        Raises:
            RecordingError: It is not what it has to be.
        """
        raise NotImplementedError

    def anew(self, inputs: Any) -> Stated:
        """Builds it for training in the default graph, to see what it makes there."""
        asked = Asked(*self.placeholders(inputs), inputs, True)
        return self.completed(self.build(asked), asked)

    def completed(self, stated: Stated, asked: Asked) -> Stated:
        """Adds what only the whole graph tells; by default nothing. The graph is the default one."""
        del asked
        return stated


class Forward(Original):
    """A function `forward(inputs, training)`; the graph may hold its loss and its training step, by their names."""

    def __init__(self, function: Callable[..., Any], loss: str = "", train_op: str = "") -> None:
        super().__init__(function)
        self._loss, self._train_op = loss, train_op

    def placeholders(self, inputs: Any) -> Tuple[Dict[str, Any], Any]:
        """One for each input."""
        return placeholders.made_for(inputs)

    def build(self, asked: Asked) -> Stated:
        """Calls it."""
        outputs = self.function(asked.given, training=asked.training)
        batch = placeholders.composed(asked.made) if isinstance(asked.given, Mapping) else asked.given
        return Stated(outputs, batch, asked.made, None, None, None, ())

    def completed(self, stated: Stated, asked: Asked) -> Stated:
        """Finds the loss and the training step, which a graph for inference need not have."""
        if not asked.training or not (self._loss or self._train_op):
            return stated
        from .named_tensors import operation, tensor

        loss = tensor(self._loss, "loss") if self._loss else None
        train_op = operation(self._train_op, "train_op") if self._train_op else None
        return stated._replace(loss=loss, train_op=train_op)


def adapted(function: Callable[..., Any], description: Optional[Mapping[str, Any]]) -> Original:
    """Returns what builds a program.

    Args:
        function: The user's function; of a script that is run as it stands, what runs it.
        description: `kind` (`"forward"`, `"estimator"`, `"script"`), and what goes with it; None: a plain `forward`.
    """
    told = dict(description or {"kind": "forward"})
    kind = told.pop("kind")
    if kind == "estimator":
        from .estimators import Estimator

        return Estimator(function, **told)
    if kind == "script":
        from .scripts import Script

        return Script(function, **told)
    return Forward(function, **told)
