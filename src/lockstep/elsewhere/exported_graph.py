"""The reference's own graph, exported where it was recorded, run on this TensorFlow.

Whatever it computes otherwise than the recording is the runtime's share of a difference, and what the candidate
computes otherwise than it is the code's.
"""

from __future__ import annotations

from collections.abc import Mapping

from lockstep.common.arrays import Arrays
from lockstep.common.errors import InputError, refused
from lockstep.elsewhere.recorded import RecordedBuild
from lockstep.frameworks.tensorflow import foreign_graphs, running
from lockstep.frameworks.tensorflow.tf1_graph import GraphInstance
from lockstep.recorder.graph import imported, parsed
from lockstep.subjects import Mode


def run_here(
    build: RecordedBuild, mode: Mode, inputs: Arrays, label: str, *, trusted: bool, sources: Mapping[str, str]
) -> GraphInstance:
    """Imports a recorded graph into this TensorFlow.

    Args:
        build: What was recorded.
        mode: The mode it was built in.
        inputs: What it is run on.
        label: What reports call it.
        trusted: Whether it was recorded from the user's own code; a graph from elsewhere may do nothing but compute.
        sources: Operation's name -> the user's line that made it, which an exported graph does not hold.

    Raises:
        InputError: There is no graph, it is damaged, or it is from elsewhere and reaches beyond itself.
    """
    content = build.graph()
    if content is None:
        raise InputError(f"the reference's graph was not exported: {build.graph_note}")
    exported = refused(lambda: parsed(content))
    if not trusted:
        exported = foreign_graphs.admitted(exported)
    with running.users_code(label, f"importing its graph ({running.describe(mode)})", foreign=not trusted):
        model = imported(exported, build.inputs, build.outputs, mode.training, build.objective)
    if not trusted:
        model.limit_s = foreign_graphs.limit_s(build.longest_run_s)
    if build.draws:
        model.draws = list(build.draws)  # where it was recorded, the graph knew its loops
        model.draw_in_order()
    return GraphInstance(label, model, mode, inputs, build.seeds_taken, sources)
