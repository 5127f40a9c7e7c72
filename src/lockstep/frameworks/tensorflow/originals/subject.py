"""A file that holds a graph, as a subject: its weights are variables, and it knows inference alone."""

from __future__ import annotations

from collections.abc import Mapping

from lockstep.common.arrays import Arrays, named
from lockstep.common.errors import InputError
from lockstep.files.originals import OriginalFile, files_of
from lockstep.frameworks.tensorflow import running
from lockstep.frameworks.tensorflow.draws import RecordedDraws
from lockstep.frameworks.tensorflow.foreign_graphs import LONGEST_S
from lockstep.frameworks.tensorflow.originals.importing import model_of
from lockstep.frameworks.tensorflow.originals.opening import opened
from lockstep.frameworks.tensorflow.tf1_graph import GraphInstance
from lockstep.ground.failures import RecordingError
from lockstep.subjects import NOTHING_WANTED, Mode, Offers, Subject, Wanted

_LACKING = "is a file that holds inference alone"


class FileGraph(Subject):
    """A SavedModel, a frozen graph or a MetaGraph with its checkpoint."""

    def __init__(self, original: OriginalFile) -> None:
        self._original = original
        self.label = original.label

    @property
    def offers(self) -> Offers:
        """Inference from any values; the file's own are no draws of an initializer."""
        return Offers(initializers=False, no_training=_LACKING, flags=self._original.kind != "frozen_graph")

    def environment(self) -> Mapping[str, str]:
        """The versions of this process."""
        return running.environment(self.label)

    def settings(self) -> Mapping[str, str]:
        """Those of this process."""
        return running.settings()

    def code(self) -> Mapping[str, str]:
        """Returns file -> SHA-256 of the files that the model is in."""
        return files_of(self._original.kind, self._original.path)

    def build(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> GraphInstance:
        """Imports the graph.

        Raises:
            InputError: The file cannot be used, or the mode is one of training.
        """
        del wanted  # it runs as it is asked
        if mode.training:
            raise InputError(f"{self.label} {_LACKING}.")
        found = opened(self._original, named(inputs))
        tool = RecordedDraws(mode.randomness)
        try:
            model = model_of(found, inputs, tool)
        except RecordingError as error:
            raise InputError(f"{found.called} cannot be used: {error}") from error
        model.limit_s = LONGEST_S
        built = GraphInstance(self.label, model, mode, inputs, ())
        values = [variable.value for variable in found.variables]
        return built.starting_from({r.key: value for r, value in zip(built.variables, values, strict=True)})

    def build_again(self, mode: Mode, inputs: Arrays, wanted: Wanted = NOTHING_WANTED) -> GraphInstance:
        """Imports it anew."""
        return self.build(mode, inputs, wanted)
