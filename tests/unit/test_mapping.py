"""What is proposed for a checkpoint and a rewrite, what is said to be sure, and what is written as rules."""

import sys

import pytest

from lockstep.check.sides import Rules
from lockstep.compare.align import align
from lockstep.convert.proposing import rules_of
from lockstep.files.checkpoints.entries import Entry
from lockstep.files.checkpoints.mapping import as_toml, propose
from lockstep.traces.trace import VariableRecord

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def entries(*named):
    return [Entry(name, shape, "float32") for name, shape in named]


def records(*named):
    return [VariableRecord(name, name, shape, "float32", True) for name, shape in named]


def found(proposal):
    return {pair.entry.name: pair.record.name for pair in proposal.pairs}


def test_equal_names_and_single_shapes_are_sure():
    proposal = propose(
        entries(("net/a/weights", (3, 4)), ("net/a/biases", (4,)), ("step", (2,))),
        records(("step", (2,)), ("model/dense/kernel", (3, 4)), ("model/dense/bias", (4,))),
    )
    assert found(proposal) == {
        "step": "step", "net/a/weights": "model/dense/kernel", "net/a/biases": "model/dense/bias"}  # fmt: skip
    assert proposal.unsure == ()
    assert [pair.record.name for pair in proposal.pairs] == ["step", "model/dense/kernel", "model/dense/bias"]


def test_roles_tell_variables_of_one_shape_apart():
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    proposal = propose(
        entries(*((f"conv1/BatchNorm/{name}", (8,)) for name in names), ("conv1/biases", (8,))),
        records(*((f"stem/norm/{name}", (8,)) for name in reversed(names)), ("stem/conv/bias", (8,))),
    )
    expected = {f"conv1/BatchNorm/{name}": f"stem/norm/{name}" for name in names}
    assert found(proposal) == {**expected, "conv1/biases": "stem/conv/bias"}
    assert proposal.unsure == ()


def test_numbers_are_counted_not_spelled():
    counts = (1, 2, 10, 11)
    proposal = propose(
        entries(*((f"net/block_{n}/weights", (3, 3)) for n in counts)),
        records(*((f"stage{n}/kernel", (3, 3)) for n in counts)),
    )
    assert found(proposal) == {f"net/block_{n}/weights": f"stage{n}/kernel" for n in counts}
    assert proposal.unsure == ()


def test_what_only_the_order_tells_has_to_be_reviewed():
    proposal = propose(
        entries(("p/weights", (3, 3)), ("q/weights", (3, 3))), records(("one/kernel", (3, 3)), ("two/kernel", (3, 3)))
    )
    assert len(proposal.unsure) == 2
    assert "order among 2" in proposal.pairs[0].reason


def test_of_unequal_numbers_only_what_the_names_tell_is_paired():
    proposal = propose(
        entries(("left/weights", (3, 3)), ("right/weights", (3, 3)), ("auxiliary/weights", (3, 3))),
        records(("right/kernel", (3, 3)), ("left/kernel", (3, 3))),
    )
    assert found(proposal) == {"right/weights": "right/kernel", "left/weights": "left/kernel"}
    assert [entry.name for entry in proposal.entries] == ["auxiliary/weights"]
    proposal = propose(entries(("p/weights", (3, 3))), records(("one/kernel", (3, 3)), ("two/kernel", (3, 3))))
    assert proposal.pairs == ()
    assert (len(proposal.entries), len(proposal.records)) == (1, 2)


@pytest.mark.parametrize(
    ("old", "new", "transform"),
    [
        ((3, 4), (4, 3), "transpose(1,0)"),
        ((3, 3, 8, 16), (16, 8, 3, 3), "transpose(3,2,0,1)"),
        ((1, 5, 4), (5, 4), "reshape(5,4)"),
    ],
)
def test_a_kernel_kept_otherwise_is_proposed_with_its_transform_for_review(old, new, transform):
    proposal = propose(entries(("a/weights", old)), records(("b/kernel", new)))
    (pair,) = proposal.pairs
    assert (pair.transform, pair.sure) == (transform, False)


def test_another_dtype_is_no_partner():
    proposal = propose(
        entries(("a/weights", (3, 4))), [VariableRecord("b/kernel", "b/kernel", (3, 4), "float16", True)]
    )
    assert proposal.pairs == ()


def test_an_lstm_is_proposed_as_the_parts_that_keras_keeps():
    proposal = propose(
        entries(("rnn/basic_lstm_cell/kernel", (14, 24)), ("rnn/basic_lstm_cell/bias", (24,))),
        records(("lstm/kernel", (8, 24)), ("lstm/recurrent_kernel", (6, 24)), ("lstm/bias", (24,))),
    )
    assert [pair.transform for pair in proposal.pairs] == [
        "split(0, 0, [8, 6]) | gates(ijfo->ifco)",
        "split(0, 1, [8, 6]) | gates(ijfo->ifco)",
        "forget_bias(1.0, ijfo) | gates(ijfo->ifco)",
    ]
    assert [pair.sure for pair in proposal.pairs] == [True, True, False]  # the checkpoint has no forget_bias
    assert proposal.entries == ()


def test_the_rules_that_are_written_pair_what_was_proposed_whatever_the_names():
    odd = ['a"b/weights', "a\\b/biases", "a.b(c)/gamma", "new\nline/beta"]
    ours = entries(*((name, (n + 2,)) for n, name in enumerate(odd)), ("rnn/lstm_cell/kernel", (14, 24)))
    theirs = records(
        *((f"m\\{n}/x", (n + 2,)) for n in range(len(odd))), ("l/kernel", (8, 24)), ("l/recurrent_kernel", (6, 24))
    )
    proposal = propose(ours, theirs)
    rules = rules_of(proposal, Rules())
    variables = tomllib.loads(as_toml(proposal, "model.ckpt"))["variables"]
    assert [tuple(rule) for rule in variables["rename"]] == list(rules.rename)
    assert [rule[1] for rule in variables["transform"]] == [rule.transform.text for rule in rules.transforms]
    reference = [VariableRecord(e.name, e.name, e.shape, e.dtype, True) for e in ours]
    alignment = align(reference, theirs, rules.rename, rules.transforms)
    assert {c.name: r.name for r, c in alignment.pairs} == {p.record.name: p.entry.name for p in proposal.pairs}
    assert alignment.missing == alignment.extra == ()


def test_what_has_no_partner_is_written_as_comments():
    text = as_toml(propose(entries(("a", (1,)), ("b\nc", (2,))), records(("d", (3,)))), "model.ckpt")
    assert '# no partner: "a" (1,) float32 of the checkpoint' in text
    assert '# no partner: "b\\nc" (2,)' in text
    assert '# no partner: "d" (3,) float32 of the candidate' in text
    assert tomllib.loads(text) == {"variables": {"rename": []}}


def test_equal_words_beat_the_order_and_what_is_left_is_paired_by_elimination():
    ours = [f"layer_{i}/attention/{n}/kernel" for i in (0, 1) for n in ("self/query", "self/key", "output/dense")]
    theirs = [f"net/block_{i}/{n}/kernel" for i in (0, 1) for n in ("attention/key", "attention/query", "projection")]
    proposal = propose(entries(*((n, (8, 8)) for n in ours)), records(*((n, (8, 8)) for n in theirs)))
    pairs = found(proposal)
    assert pairs["layer_1/attention/self/query/kernel"] == "net/block_1/attention/query/kernel"
    assert pairs["layer_0/attention/output/dense/kernel"] == "net/block_0/projection/kernel"
    assert proposal.unsure == ()


def test_what_shapes_do_not_tell_is_told_by_the_layer():
    proposal = propose(
        entries(("one/kernel", (8, 4)), ("one/bias", (4,)), ("two/kernel", (4, 4)), ("two/bias", (4,))),
        records(("out/kernel", (4, 4)), ("out/bias", (4,)), ("hidden/kernel", (8, 4)), ("hidden/bias", (4,))),
    )
    assert found(proposal)["one/bias"] == "hidden/bias"
    assert found(proposal)["two/bias"] == "out/bias"
    assert proposal.unsure == ()


def test_two_known_roles_are_never_one_variable():
    proposal = propose(entries(("a/gamma", (4,))), records(("b/beta", (4,))))
    assert proposal.pairs == ()
