"""What was compared in one mode is not compared again in another, if it is the same bit for bit."""

from dataclasses import replace

import numpy as np
import pytest

from lockstep.check.compared_before import Compared, ComparedBefore
from lockstep.check.steps.forced import Located
from lockstep.localise.findings import Localisation
from lockstep.program import Place, ProgramBuilder, Spec


class Kernels:
    def numpy(self, value):
        return np.asarray(value)


def program(x=(1.0, np.nan), slope=0.2, source="model.py:3", written=True, limit=None):
    made, spec = ProgramBuilder(), Spec("float32", (2,))
    read = made.variable("w", np.array(x, np.float32), spec)
    place = Place("leaky", "net", source)
    (out,) = made.operation("LeakyRelu", {"alpha": slope}, [read], [(spec, None)], place)
    made.program.outputs["y"] = out
    if written:
        made.write("w", out)
    made.program.limits += [limit] if limit else []
    return made.program


def asked(reference, candidate, partners=None):
    before, located = ComparedBefore(), Located(Localisation(), ())
    before.keep(Compared(program(), program(), {"w": "w"}, located))
    return before.find(reference, candidate, partners or {"w": "w"}, Kernels()) is located


def test_the_same_programs_on_the_same_values_are_known():
    assert asked(program(), program())


@pytest.mark.parametrize(
    "other",
    [
        {"x": (1.0, 2.0)},
        {"x": (np.nextafter(np.float32(1), np.float32(2)), np.nan)},
        {"slope": 0.3},
        {"source": "model.py:4"},
        {"written": False},
        {"limit": "a loop could not be followed"},
    ],
)
def test_whatever_differs_is_compared(other):
    assert not asked(program(**other), program())
    assert not asked(program(), program(**other))


def test_other_partners_are_another_question():
    assert not asked(program(), program(), {"w": "v"})


def test_a_draw_that_is_another_one_is_another_value():
    def drawing(value):
        made = program()
        (tensor,) = made.sources
        return replace(made, sources={tensor: replace(made.sources[tensor], kind="draw", value=value)})

    before, located = ComparedBefore(), Located(Localisation(), ())
    values = [np.array(v, np.float32) for v in ((1, 2), (1, 3))]
    before.keep(Compared(drawing(values[0]), program(), {}, located))
    assert before.find(drawing(values[0].copy()), program(), {}, Kernels()) is located
    assert before.find(drawing(values[1]), program(), {}, Kernels()) is None
    assert before.find(drawing(None), program(), {}, Kernels()) is None
