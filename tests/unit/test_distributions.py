import numpy as np
import pytest

from lockstep.compare.distributions import describe, same_distribution

RNG = np.random.default_rng(0)


def test_two_draws_of_one_distribution_pass():
    for _ in range(50):
        assert same_distribution(RNG.normal(size=3000), RNG.normal(size=3000))


@pytest.mark.parametrize(
    "other",
    [
        RNG.normal(0.0, 1.3, 3000),
        RNG.normal(0.4, 1.0, 3000),
        RNG.uniform(-1.732, 1.732, 20_000),
        np.zeros(3000),
    ],
    ids=["deviation", "mean", "uniform", "constant"],
)
def test_another_distribution_is_seen(other):
    assert not same_distribution(RNG.normal(size=other.size), other)


def test_a_factor_of_two_shows_in_a_small_kernel():
    assert not same_distribution(RNG.uniform(-1, 1, 150), RNG.uniform(-2, 2, 150))


def test_constants_must_be_equal():
    assert same_distribution(np.zeros(5), np.zeros(5))
    assert not same_distribution(np.zeros(5), np.ones(5))


def test_description():
    assert describe(np.zeros(3)) == "constant 0"
    assert describe(np.array([0.0, 1.0])) == "mean 0.5, deviation 0.5, from 0 to 1"
