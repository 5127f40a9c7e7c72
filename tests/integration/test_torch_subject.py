"""A PyTorch module as a subject: how it is called, what its variables are, what it draws."""

import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: there is no build for this Python")

from click.testing import CliRunner
from torch import nn
from torch.nn import functional

import lockstep
from lockstep.cli import main
from lockstep.common.errors import InputError, SubjectError, UnsupportedVersionError
from lockstep.frameworks.torch.optimizing import make_optimizer
from lockstep.optimizers.description import from_plain
from lockstep.optimizers.rules import replay
from lockstep.subjects import INFERENCE, INITIAL, TRAINING, Ask, Objective, Setting

X = {"x": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)}


def built(module, inputs=X, mode=INFERENCE, **options):
    return lockstep.torch(module, **options).build(mode, inputs)


class Named(nn.Module):
    def forward(self, image, mask=None):
        return image if mask is None else image * mask


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, batch):
        return {"y": batch["a"] * self.scale + batch["b"]}


class Noisy(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def forward(self, x):
        return self.draw(x)


def test_inputs_go_to_the_parameters_of_their_names():
    given = {"image": X["x"], "mask": np.zeros((4, 3), np.float32)}
    assert not built(Named, given).run(INITIAL).outputs[""].any()


def test_one_input_goes_to_the_first_parameter_whatever_its_name():
    assert np.array_equal(built(Named).run(INITIAL).outputs[""], X["x"])


def test_a_module_that_takes_one_thing_gets_all_inputs_in_it_and_is_followed():
    instance = built(Whole, {"a": X["x"], "b": X["x"]})
    trace = instance.run(INITIAL)
    assert np.array_equal(trace.outputs["y"], 2 * X["x"])
    program = instance.followed.program(dict(trace.before))
    assert {source.name for source in program.sources.values() if source.kind != "constant"} == {"a", "b", "scale"}


def test_inputs_that_nobody_takes_are_told_with_what_is_taken():
    with pytest.raises(InputError, match=r"takes input1, input2, and the inputs are a, b, c; name the inputs so"):
        built(lambda: nn.Bilinear(3, 3, 2), dict.fromkeys("abc", X["x"]))


def test_as_says_how_inputs_are_given():
    given = {"a": np.zeros((4, 3), np.float32), "b": X["x"]}
    instance = built(Named, given, inputs_as={"b": "0", "a": "mask"})
    assert not instance.run(INITIAL).outputs[""].any()


def test_counters_are_no_variables_and_tied_ones_are_there_once():
    module = nn.Sequential(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3), nn.Linear(3, 3, bias=False))
    module[2].weight = module[0].weight
    names = [record.name for record in built(lambda: module).variables]
    assert names == ["0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"]


def test_a_count_that_an_average_reads_is_a_variable():
    names = [record.name for record in built(lambda: nn.BatchNorm1d(3, momentum=None)).variables]
    assert "num_batches_tracked" in names


def test_lazy_parameters_are_made_of_the_inputs():
    assert [record.shape for record in built(lambda: nn.LazyLinear(2)).variables] == [(2, 3), (2,)]


def test_a_run_leaves_the_module_and_the_process_as_they_were():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    instance = built(lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)), mode=TRAINING)
    first, second = instance.run(INITIAL), instance.run(INITIAL)
    assert set(first.after) == {"0.running_mean", "0.running_var"}
    assert np.array_equal(first.outputs[""], second.outputs[""])
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_keeps_what_tensorflow_would_keep():
    import tensorflow as tf

    trace = built(lambda: nn.Dropout(0.25), {"x": np.ones((4, 8), np.float32)}, TRAINING).run(INITIAL)
    tool = lockstep.DeterministicRandomTestTool(mode="num_random_ops")
    with tool.scope():
        numbers = tf.random.uniform((4, 8)).numpy()
    assert np.array_equal(trace.outputs[""] != 0, numbers >= 0.25)
    assert [(draw.type, draw.size) for draw in trace.forward_draws] == [("RandomUniform", 32)]
    assert not trace.unaligned_draws


def test_a_mask_for_images_is_drawn_in_tensorflows_order():
    import tensorflow as tf

    def build():
        return nn.Sequential(
            nn.Conv2d(2, 3, 1), nn.ReLU(), Noisy(lambda x: functional.dropout(torch.ones_like(x), 0.5))
        )

    trace = built(build, {"x": np.ones((2, 2, 4, 5), np.float32)}, TRAINING).run(INITIAL)
    with lockstep.DeterministicRandomTestTool(mode="num_random_ops").scope():
        numbers = tf.random.uniform((2, 4, 5, 3)).numpy()
    assert np.array_equal(trace.outputs[""].transpose(0, 2, 3, 1) != 0, numbers >= 0.5)


def test_what_draws_from_pytorchs_own_generator_is_told():
    trace = built(lambda: Noisy(lambda x: x + torch.randperm(3)), mode=TRAINING).run(INITIAL)
    assert trace.unaligned_draws
    assert "draws by randperm from PyTorch's own generator" in trace.notes[0]


def test_gradients_are_autograds_and_what_is_not_reached_is_unconnected():
    instance = built(lambda: nn.ModuleDict({"a": nn.Linear(3, 2)}) and Unreached(), mode=TRAINING)
    trace = instance.run(Setting("initial"), Ask(objective=Objective(lambda outputs, batch: (outputs**2).sum())))
    assert trace.unconnected == ("idle",)
    assert trace.gradients["used"] == pytest.approx((2 * X["x"] ** 2).sum(0), rel=1e-5)


class Unreached(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.idle = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x * self.used


def test_a_loss_that_is_no_scalar_is_told():
    with pytest.raises(InputError, match=r"returned a tensor of shape \(4, 3\); it must return a scalar tensor"):
        built(Unreached, mode=TRAINING).run(INITIAL, Ask(objective=Objective(lambda outputs, batch: outputs)))


def test_what_the_user_returns_or_gives_wrongly_is_told():
    with pytest.raises(InputError, match=r"must return a torch\.nn\.Module"):
        built(lambda: 3)
    with pytest.raises(InputError, match="anew for each call; it was given a Linear"):
        lockstep.torch(nn.Linear(2, 2))
    with pytest.raises(SubjectError, match="failed while running"):
        built(lambda: nn.Linear(5, 2)).run(INITIAL)


def test_without_pytorch_the_message_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedVersionError, match=r"lockstep-verify\[torch\]"):
        lockstep.torch(Unreached)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.01),
    "adadelta": lambda p: torch.optim.Adadelta(p, 0.5),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rule_that_is_told_of_an_optimizer_is_the_one_that_it_follows(name):
    made = make_optimizer(OPTIMIZERS[name], {"w": ((3,), np.float64)}, "test", {})
    told = from_plain(made.description)
    values, gradients = {"w": np.array([1.0, -2.0, 0.5])}, {"w": np.array([0.3, -1e-5, 2.0])}
    seen, before = [], []
    for _ in range(4):
        before.append(values)
        values = made.apply(values, gradients).variables
        seen.append(values["w"])
    rates = list(made.learning_rates(range(4)).values())
    expected = replay(told.kind, told.arguments, rates, before, [gradients] * 4).variables
    assert np.allclose(seen, [step["w"] for step in expected], rtol=1e-10, atol=0)


def trained(reference, candidate, steps=0, asked=("variables-match", "gradients", "optimizer", "trajectory")):
    import tensorflow.compat.v1 as tf
    from tests.integration import torch_ports

    losses = (
        lambda outputs, batch: tf.reduce_mean(tf.square(outputs["y"] - 1.0)),
        lambda outputs, batch: ((outputs["y"] - 1.0) ** 2).mean(),
    )
    report = lockstep.verify(
        lockstep.tf1_graph(torch_ports.dense_net),
        lockstep.torch(torch_ports.DenseNet),
        torch_ports.ROWS,
        loss=losses,
        optimizers=(lambda: reference(tf.train), candidate),
        trajectory=steps,
        steps=asked,
    )
    return report, {step.name: step.verdict for step in report.steps}


def test_a_port_that_is_trained_alike_is_equivalent_step_by_step():
    report, verdicts = trained(
        lambda train: train.MomentumOptimizer(0.1, 0.9), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), 3
    )
    assert report.verdict == "equivalent"
    assert verdicts["trajectory"] == verdicts["gradients"] == verdicts["optimizer"] == "equivalent"


def test_where_adam_adds_its_epsilon_is_told():
    report, verdicts = trained(lambda train: train.AdamOptimizer(0.01), lambda p: torch.optim.Adam(p, 0.01))
    assert verdicts["optimizer"] == "diverged"
    assert "as torch.optim.Adam does" in report.culprits[0].cause


def stepped(optimizer, scheduler, **how):
    return lambda parameters: how | scheduled(optimizer(parameters), scheduler)


def scheduled(optimizer, scheduler):
    return {"optimizer": optimizer, "scheduler": scheduler(optimizer)}


STAIRS = stepped(lambda p: torch.optim.SGD(p, 0.1), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5))


def staircase(train):
    step = train.get_or_create_global_step()
    return train.GradientDescentOptimizer(train.exponential_decay(0.1, step, 3, 0.5, staircase=True))


@pytest.mark.slow
def test_a_schedule_that_is_stepped_after_each_update_is_equivalent_in_rates_and_in_training():
    report, verdicts = trained(staircase, STAIRS, 5)
    assert report.verdict == "equivalent", report.steps
    assert verdicts["optimizer"] == verdicts["trajectory"] == "equivalent"
    rates = next(step for step in report.steps if step.name == "optimizer")
    assert "learning rates equal at" in rates.summary


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"before": True}, "the candidate's schedule is one step early"),
        ({"every": 5}, "the candidate's schedule runs 5 times as slowly"),
    ],
)
def test_a_schedule_that_is_stepped_elsewhere_is_named(how, told):
    report, verdicts = trained(staircase, lambda p: STAIRS(p) | how, asked=("optimizer",))
    assert verdicts["optimizer"] == "diverged"
    (first, *_) = report.culprits
    assert told in first.cause
    assert (first.pitfall, first.kind) == ("schedule-step", "optimizer")
    assert "after optimizer.step()" in first.fix


@pytest.mark.slow
def test_a_schedule_that_is_a_step_early_is_seen_in_training_too():
    _, verdicts = trained(staircase, lambda p: STAIRS(p) | {"before": True}, 5)
    assert verdicts["optimizer"] == verdicts["trajectory"] == "diverged"


@pytest.mark.release
def test_epochs_of_updates_are_counted_as_the_original_counts_them():
    """Two updates are an epoch: the original's staircase is of 6, the port steps a staircase of 3 after each epoch."""

    def original(train):
        step = train.get_or_create_global_step()
        return train.GradientDescentOptimizer(train.exponential_decay(0.1, step, 6, 0.5, staircase=True))

    alone = ("optimizer",)
    right = trained(original, lambda p: STAIRS(p) | {"every": 2}, asked=alone)[1]
    assert right["optimizer"] == "equivalent"
    report, verdicts = trained(original, lambda p: STAIRS(p) | {"every": 2, "before": True}, asked=alone)
    assert verdicts["optimizer"] == "diverged"
    assert "one epoch of 2 updates early" in report.culprits[0].cause
    report, _ = trained(original, STAIRS, asked=alone)
    assert "runs 2 times as fast" in report.culprits[0].cause


def test_what_is_returned_beside_an_optimizer_has_to_be_known():
    def refused(returned):
        with pytest.raises(InputError) as error:
            make_optimizer(lambda p: returned(torch.optim.SGD(p, 0.1)), {"w": ((3,), np.float64)}, "port", {})
        return str(error.value)

    assert "a dict with schedule; it must return" in refused(lambda o: {"optimizer": o, "schedule": None})
    assert "ReduceLROnPlateau goes by a metric" in refused(lambda o: (o, torch.optim.lr_scheduler.ReduceLROnPlateau(o)))
    assert "every is 0" in refused(lambda o: {"optimizer": o, "every": 0})
    other = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], 0.1)
    assert "belongs to another optimizer" in refused(lambda o: (o, torch.optim.lr_scheduler.StepLR(other, 2)))
    assert "the scheduler is a str" in refused(lambda o: (o, "cosine"))


@pytest.mark.slow
@pytest.mark.parametrize(("file", "status"), [("lockstep", 0), ("mistake", 1)])
def test_the_example_is_what_it_says(file, status):
    done = CliRunner().invoke(main, ["check", f"examples/torch_port/{file}.toml"])
    assert done.exit_code == status, done.output
    assert ("transpose (0, 3, 1, 2)" in done.output) == bool(status)
