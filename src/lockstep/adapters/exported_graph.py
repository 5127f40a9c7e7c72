"""The reference's own graph, exported where it was recorded, run on this TensorFlow.

Whatever it computes otherwise than the recording is the runtime's share of a difference, and what the candidate
computes otherwise than it is the code's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lockstep.adapters import running
from lockstep.adapters.tf1_graph import GraphInstance
from lockstep.arrays import Arrays
from lockstep.errors import InputError
from lockstep.recorded import RecordedBuild, refused
from lockstep.recorder.graph import imported, parsed
from lockstep.subjects import Mode
from lockstep.tf1.private import op_def

# What a graph that came with a trace from elsewhere may run: operations without a state of their own, and of those with
# one only variables, random generators, tables in memory, and control flow. Files, sockets and Python stay closed.
_HARMLESS_STATE = re.compile(
    r"Variable(V2)?|VarHandleOp|VarIsInitializedOp|IsVariableInitialized|ReadVariableOp|Assign\w*|Scatter\w*"
    r"|Resource(Gather|Scatter|Strided|SparseApply|Apply)\w*|Random\w+|TruncatedNormal|ParameterizedTruncatedNormal"
    r"|Multinomial|StatelessIf|If|While|Case|(Stateful)?PartitionedCall|(Mutable)?HashTable(OfTensors)?(V2)?"
    r"|LookupTable\w+|InitializeTable(V2)?|TensorArray\w*|Stack\w*|Placeholder|PlaceholderWithDefault|NoOp|Assert"
)
_READING_FILES = frozenset({"ReadFile", "MatchingFiles", "RestoreV2", "Restore", "RestoreSlice"})


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
        _refuse_reaching_out(exported.graph_def)
    with running.users_code(label, f"importing its graph ({running.describe(mode)})"):
        model = imported(exported, build.inputs, build.outputs, mode.training, build.objective)
    if build.draws:
        model.draws = list(build.draws)  # where it was recorded, the graph knew its loops
        model.draw_in_order()
    return GraphInstance(label, model, mode, inputs, build.seeds_taken, sources)


def _refuse_reaching_out(graph_def: Any) -> None:
    nodes = [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]
    functions = {function.signature.name for function in graph_def.library.function}
    reaching = sorted({node.op for node in nodes if node.op not in functions and not _only_computes(node.op)})
    if reaching:
        raise InputError(
            f"the graph in this trace reaches beyond itself ({', '.join(reaching)}); it is not run here. A trace that "
            "`lockstep check` records itself is trusted."
        )


def _only_computes(kind: str) -> bool:
    definition = op_def(kind)
    if definition is None or kind in _READING_FILES:
        return False
    return not definition.is_stateful or _HARMLESS_STATE.fullmatch(kind) is not None
