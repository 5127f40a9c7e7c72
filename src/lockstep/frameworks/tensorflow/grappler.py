"""Grappler's passes, switched off one by one: for the functions of this process, or for one session.

The options are the process's, and TensorFlow looks at them whenever a traced function is called (2.16 and 2.21, see
`tests/integration/test_switches.py`): the same trace, called with another option, is optimised anew. So one trace
serves all settings, and nothing but the pass differs between two of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from lockstep.subjects import Execution

OFF_BY_DEFAULT = (
    "debug_stripper",
    "scoped_allocator_optimization",
    "pin_to_host_optimization",
    "auto_mixed_precision",
    "auto_mixed_precision_mkl",
    "auto_mixed_precision_onednn_bfloat16",
)
"""Passes that TensorFlow runs only where it is told to; switched off they change nothing unless the user did."""
_BY_DEFAULT = (
    "remapping",
    "arithmetic_optimization",
    "constant_folding",
    "layout_optimizer",
    "function_optimization",
    "shape_optimization",
    "dependency_optimization",
    "loop_optimization",
    "implementation_selector",
    "use_plugin_optimizers",
)
_OF_SESSIONS = ("common_subgraph_elimination",)
"""What only the configuration of a session can switch."""
_WHOLE = "disable_meta_optimizer"
_PRUNING = "disable_model_pruning"
PRUNING = "model_pruning"
"""The removal of nodes that nothing needs, whose option says the opposite of the others': `disable_model_pruning`."""


def passes() -> tuple[str, ...]:
    """Returns the passes that run over a `tf.function` of this process, as far as they can be switched off."""
    options = tf.config.optimizer.get_experimental_options()
    if options.get(_WHOLE):
        return ()
    running = [name for name in _BY_DEFAULT if options.get(name, True)]
    running += [name for name in OFF_BY_DEFAULT if options.get(name, False)]
    return (*running, *(() if options.get(_PRUNING) else (PRUNING,)))


def passes_of_sessions() -> tuple[str, ...]:
    """Returns the passes that run over a graph in a session with the default configuration.

    Pruning is none of them: without it Grappler goes through what is not asked for too, initializers and gradients,
    which takes seven times as long (31 s of processor time against 4 s, Inception-ResNet-v2) and rounds nothing.
    """
    return (*_BY_DEFAULT, *_OF_SESSIONS)


@contextlib.contextmanager
def switched(execution: Execution) -> Iterator[None]:
    """Sets the process's options while a traced function is called, and puts them back, the unset ones unset."""
    wanted: dict[str, Any] = {_PRUNING: True} if PRUNING in execution.off else {}
    wanted |= {name: False for name in execution.off if name != PRUNING}
    if execution.compiler == "graph":
        wanted[_WHOLE] = True
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(wanted)
    try:
        yield
    finally:
        # None is what an option is before anybody sets it: TensorFlow's default, which is neither on nor off.
        tf.config.optimizer.set_experimental_options({name: before.get(name) for name in wanted})


def session_config(execution: Execution) -> Any:
    """Returns the configuration of a session that rewrites its graph as `execution` says."""
    config = tf.compat.v1.ConfigProto()
    rewriting: Any = config.graph_options.rewrite_options
    if execution.compiler != "grappler":
        rewriting.disable_meta_optimizer = True
    for name in execution.off:
        setattr(rewriting, _PRUNING if name == PRUNING else name, True if name == PRUNING else rewriting.OFF)
    return config
