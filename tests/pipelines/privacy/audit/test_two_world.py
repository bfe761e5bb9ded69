"""The two-world test: its known ceilings, its honesty at the true epsilon, and what it finds in counts with noise."""

import math

import numpy as np
import pytest

from pipelines.privacy.audit.bound import two_world_bound
from pipelines.privacy.audit.design import TwoWorldDesign, hash_of_seed
from pipelines.privacy.audit.two_world import two_worlds

SEED = 11


def design(*, trials: int = 2000, delta: float = 0.0) -> TwoWorldDesign:
    return TwoWorldDesign(
        unit="trip",
        trials=trials,
        rehearsals=1000,
        delta=delta,
        score="the released count of the canary's cell",
        seed_hash=hash_of_seed(SEED),
        canary_hash="0" * 64,
    )


@pytest.mark.parametrize(("trials", "highest"), [(20, 1.60), (100, 3.28), (1000, 5.60)])
def test_the_ceiling_is_the_known_one(trials, highest):
    assert two_world_bound(trials=trials, true_positives=trials, false_positives=0, delta=0) == pytest.approx(
        highest, abs=0.006
    )


def test_either_direction_may_give_the_bound():
    """Half of the members found without a false alarm, or half of the others cleared without a miss: the same."""
    found = two_world_bound(trials=100, true_positives=50, false_positives=0, delta=0)
    cleared = two_world_bound(trials=100, true_positives=100, false_positives=50, delta=0)
    assert found == pytest.approx(cleared) == pytest.approx(math.log(0.39832 / 0.03622), abs=1e-3)


def test_a_guess_without_information_refutes_nothing():
    assert two_world_bound(trials=100, true_positives=60, false_positives=55, delta=0) == 0
    assert two_world_bound(trials=100, true_positives=0, false_positives=0, delta=0.1) == 0


def test_delta_lowers_the_bound_and_more_than_the_trials_is_refused():
    without, with_it = (two_world_bound(trials=100, true_positives=90, false_positives=5, delta=d) for d in (0, 0.1))
    assert with_it < without
    with pytest.raises(ValueError, match="101 true positives of 100"):
        two_world_bound(trials=100, true_positives=101, false_positives=0, delta=0)


def _randomised_response(epsilon: float, rng: np.random.Generator):
    """The score is the canary's bit, told truly with chance e^epsilon / (1 + e^epsilon)."""
    truth = 1 / (1 + math.exp(-epsilon))
    return (
        lambda trials: (rng.random(trials) < truth).astype(float),
        lambda trials: (rng.random(trials) >= truth).astype(float),
    )


def test_false_alarms_at_the_true_epsilon_are_rare_and_two_thirds_of_it_is_refuted():
    """300 tests; Bonferroni over the two rates makes false alarms rarer than the 5 % allowed."""
    rng = np.random.default_rng(SEED)
    included, excluded = _randomised_response(1.0, rng)
    found = np.array([two_worlds(design(), included=included, excluded=excluded, claim=1.0).bound for _ in range(300)])
    assert (found > 1.0).mean() <= 0.05
    assert (found > 2 / 3).mean() > 0.95


@pytest.mark.parametrize(("scale", "verdict"), [(1.0, "consistent"), (0.25, "violated")])
def test_geometric_noise_passes_at_its_epsilon_and_is_caught_at_a_quarter(scale, verdict):
    """One trip more in a cell, geometric noise of parameter `scale`, claimed to be epsilon 1."""
    rng = np.random.default_rng(SEED)
    stop = 1 - math.exp(-1 / scale)

    def released(trials: int, count: int) -> np.ndarray:
        return count + rng.geometric(stop, trials) - rng.geometric(stop, trials).astype(float)

    outcome = two_worlds(design(), included=lambda k: released(k, 1), excluded=lambda k: released(k, 0), claim=1.0)
    assert outcome.verdict == verdict
    assert ("Refutes" in outcome.sentence) == (verdict == "violated")


def test_a_test_that_cannot_be_carried_out_is_refused():
    with pytest.raises(ValueError, match="at least one of each"):
        design(trials=0)
