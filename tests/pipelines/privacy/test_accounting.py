import math
from itertools import pairwise

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import pld_privacy_accountant
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant
from scipy import stats

from pipelines.privacy.accounting import ACCOUNTANT, delta, epsilon
from pipelines.privacy.gaussian import continuous_scale, gaussian_epsilon
from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease, Mechanism, PrivateTraining, RandomStopping
from pipelines.privacy.renyi import convert


def training(noise: float, rate: float, steps: int, group: int = 1) -> PrivateTraining:
    return PrivateTraining(noise, rate, steps, max_grad_norm=1.0, group_size=group)


GOLDEN = [
    (1.0, 64 / 3114, 4900, 1e-5, 9.5985),
    (2.0, 64 / 3114, 4900, 1e-5, 3.2723),
    (4.0, 0.02, 1000, 1e-5, 0.5794),
    (10.0, 0.05, 400, 1e-6, 0.4018),
    (0.7, 0.01, 1000, 1e-5, 4.6183),
    (1.0, 1.0, 1, 1e-5, 4.3772),
    (5.0, 1.0, 10, 1e-5, 2.5944),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "target", "golden"), GOLDEN)
def test_golden_values_are_met(noise: float, rate: float, steps: int, target: float, golden: float) -> None:
    assert epsilon([training(noise, rate, steps)], delta=target) == pytest.approx(golden, abs=2e-4)


RATE = 256 / 3114
GROUPS = {
    1: (2.10, 0.97, 0.46),
    2: (4.55, 2.06, 0.96),
    7: (20.4, 8.48, 3.79),
    13: (47.0, 18.1, 7.70),
    25: (124, 43.1, 17.0),
    54: (440, 135, 47.5),
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_of_windows_costs_what_the_table_says(group: int) -> None:
    found = [epsilon([training(noise, RATE, 486, group)], delta=1e-6) for noise in (4.0, 8.0, 16.0)]
    assert found == pytest.approx(GROUPS[group], rel=0.003, abs=0.005)


RETRAININGS = {1: 0.46, 2: 0.66, 7: 1.29, 30: 2.87, 52: 3.89}


@pytest.mark.parametrize("times", RETRAININGS)
def test_retraining_costs_what_the_table_says(times: int) -> None:
    assert epsilon([training(16.0, RATE, 486)] * times, delta=1e-6) == pytest.approx(RETRAININGS[times], abs=0.006)


@pytest.mark.parametrize(("noise", "one", "ten"), [(16.0, 0.46, 1.57), (8.0, 0.97, 3.38), (4.0, 2.10, 7.58)])
def test_ten_kept_trials_cost_what_the_table_says(noise: float, one: float, ten: float) -> None:
    trial = training(noise, RATE, 486)
    assert [epsilon([trial] * times, delta=1e-6) for times in (1, 10)] == pytest.approx([one, ten], abs=0.01)


@settings(deadline=None, max_examples=6)
@given(
    st.floats(0.6, 20),
    st.floats(0.001, 0.5),
    st.integers(1, 500),
    st.sampled_from([1, 3]),
    st.sampled_from([1e-8, 1e-5]),
)
def test_more_steps_more_samples_and_less_noise_cost_more(
    noise: float, rate: float, steps: int, group: int, target: float
) -> None:
    base = epsilon([training(noise, rate, steps, group)], delta=target)
    more = [(noise, rate, steps + 1 + steps // 5), (noise, rate * 1.2, steps), (noise / 1.2, rate, steps)]
    assert all(epsilon([training(*each, group)], delta=target) >= base for each in more)
    assert epsilon([training(noise, rate, steps, group + 1)], delta=target) >= base
    assert epsilon([training(noise, rate, steps, group)], delta=target / 3) >= base


def test_epsilon_grows_steadily_over_a_long_training() -> None:
    spent = [epsilon([training(1.0, 0.01, steps)], delta=1e-6) for steps in (0, 1, 2, 3, 10, 100, 1000)]
    assert spent[0] == 0
    assert all(low < high for low, high in pairwise(spent))


def dp_accountings(event: dp_event.DpEvent, steps: int, target: float) -> float:
    accountant = pld_privacy_accountant.PLDAccountant(value_discretization_interval=1e-3)
    return accountant.compose(event, steps).get_epsilon(target)


@pytest.mark.parametrize(("noise", "rate", "steps"), [(1.0, 0.02, 600), (0.7, 0.01, 300), (4.0, 0.3, 100)])
def test_dp_accounting_and_opacus_agree(noise: float, rate: float, steps: int) -> None:
    """Opacus gives the upper end of an interval 0.01 to either side."""
    ours = epsilon([training(noise, rate, steps)], delta=1e-5)
    plain = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise))
    assert ours == pytest.approx(dp_accountings(plain, steps, 1e-5), abs=0.005)
    accountant = PRVAccountant()
    accountant.history = [(noise, rate, steps)]
    assert ours == pytest.approx(accountant.get_epsilon(1e-5) - 0.01, abs=0.005)


@pytest.mark.parametrize(("noise", "rate", "steps", "group"), [(4.0, 0.08, 50, 7), (2.0, 0.2, 10, 3)])
def test_dp_accounting_agrees_on_groups(noise: float, rate: float, steps: int, group: int) -> None:
    chances = [float(stats.binom.pmf(k, group, rate)) for k in range(group + 1)]
    event = dp_event.MixtureOfGaussiansDpEvent(noise, list(range(group + 1)), chances)
    ours = epsilon([training(noise, rate, steps, group)], delta=1e-6)
    assert ours == pytest.approx(dp_accountings(event, steps, 1e-6), rel=0.002)


def test_dp_accounting_agrees_on_different_mechanisms_together() -> None:
    accountant = pld_privacy_accountant.PLDAccountant(value_discretization_interval=1e-3)
    accountant.compose(dp_event.PoissonSampledDpEvent(0.05, dp_event.GaussianDpEvent(1.5)), 100)
    accountant.compose(dp_event.PoissonSampledDpEvent(0.2, dp_event.GaussianDpEvent(8.0)), 60)
    accountant.compose(dp_event.GaussianDpEvent(continuous_scale(4.0)))
    accountant.compose(dp_event.DiscreteLaplaceDpEvent(1 / 3, 2), 3)
    mechanisms = [
        training(1.5, 0.05, 100),
        training(8.0, 0.2, 60),
        GaussianRelease(1, 4.0),
        *[GeometricRelease(2, 3.0)] * 3,
    ]
    assert epsilon(mechanisms, delta=1e-6) == pytest.approx(accountant.get_epsilon(1e-6), rel=0.002)


def test_gaussian_releases_compose_by_the_squares_of_their_mu() -> None:
    parts = [GaussianRelease(1, 20.0), GaussianRelease(48**0.5, 100.0)]
    mu = math.sqrt(1 / continuous_scale(20.0) ** 2 + 48 / continuous_scale(100.0) ** 2)
    assert epsilon(parts, delta=1e-6) == pytest.approx(gaussian_epsilon(mu=mu, delta=1e-6), rel=1e-12)
    assert epsilon([GaussianRelease(55.86, 236.0)], delta=1e-6) == pytest.approx(1.0, rel=0.001)


def test_a_training_on_every_sample_is_a_gaussian_release_of_many() -> None:
    assert epsilon([training(6.0, 1.0, 9, 2)], delta=1e-6) == gaussian_epsilon(mu=1.0, delta=1e-6)


@pytest.mark.parametrize(("moved", "scale"), [(1, 0.7), (3, 4.0), (48, 48.0), (2.5, 2.0)])
@pytest.mark.parametrize("target", [1e-12, 1e-6, 1e-2])
def test_geometric_noise_never_costs_more_than_its_pure_epsilon(moved: float, scale: float, target: float) -> None:
    release = GeometricRelease(moved, scale)
    assert 0.9 * moved / scale < epsilon([release], delta=target) <= moved / scale
    assert epsilon([release] * 40, delta=target) <= 40 * moved / scale


def test_geometric_noise_needs_no_delta_at_its_pure_epsilon() -> None:
    assert delta([GeometricRelease(1, 2.0)] * 3, epsilon=1.5) == 0
    assert delta([GeometricRelease(1, 2.0)] * 3, epsilon=1.49) > 0


def test_many_geometric_releases_cost_less_than_their_sum() -> None:
    assert epsilon([GeometricRelease(1, 10.0)] * 100, delta=1e-6) < 0.6 * 10


def test_tiles_cost_what_plain_sampling_at_their_rate_costs() -> None:
    tiles = PrivateTraining(8.0, 7 * RATE, 486, max_grad_norm=1.0, sampling="tiling")
    assert (
        epsilon([tiles], delta=1e-6)
        == epsilon([training(8.0, 7 * RATE, 486)], delta=1e-6)
        == pytest.approx(8.40, abs=0.01)
    )


def test_the_same_mechanisms_in_any_order_and_clipping_cost_the_same() -> None:
    other = PrivateTraining(2.0, 0.1, 30, max_grad_norm=7.0)
    parts: list[Mechanism] = [training(2.0, 0.1, 20), GaussianRelease(1, 5.0), other]
    assert epsilon(parts, delta=1e-6) == epsilon([GaussianRelease(1, 5.0), training(2.0, 0.1, 50)], delta=1e-6)


MANY: list[list[Mechanism]] = [
    [training(2.0, 0.1, 50)],
    [training(2.0, 0.1, 50), GaussianRelease(1, 4.0), GeometricRelease(1, 4.0)],
    [GaussianRelease(1, 4.0)],
    [GeometricRelease(1, 4.0)] * 40,
    [RandomStopping(training(8.0, 0.1, 50), eta=1.0, gamma=0.1), GaussianRelease(1, 4.0)],
]


@pytest.mark.parametrize("mechanisms", MANY)
def test_delta_at_the_epsilon_of_a_delta_is_that_delta(mechanisms: list[Mechanism]) -> None:
    assert delta(mechanisms, epsilon=epsilon(mechanisms, delta=1e-5)) == pytest.approx(1e-5, rel=1e-4)


@pytest.mark.parametrize("mechanisms", MANY)
def test_renyi_accounting_is_never_below_the_numerical_one(mechanisms: list[Mechanism]) -> None:
    assert epsilon(mechanisms, delta=1e-6) <= convert(mechanisms, delta=1e-6).epsilon


def test_what_is_spent_beside_a_search_adds_to_it() -> None:
    search = RandomStopping(training(8.0, 0.1, 50), eta=1.0, gamma=0.1)
    alone, both = (epsilon(each, delta=1e-6) for each in ([search], [search, GaussianRelease(1, 4.0)]))
    assert alone < both < alone + epsilon([GaussianRelease(1, 4.0)], delta=1e-6) * 1.2


def test_a_delta_too_small_for_the_grid_is_answered_by_renyi_accounting() -> None:
    mechanisms = [training(4.0, 0.02, 1000)]
    assert epsilon(mechanisms, delta=1e-14) == convert(mechanisms, delta=1e-14).epsilon


def test_nothing_done_costs_nothing() -> None:
    assert epsilon([], delta=1e-6) == epsilon([training(1.0, 0.1, 0)], delta=1e-6) == 0
    assert delta([], epsilon=0.0) == 0


@pytest.mark.parametrize("target", [0.0, 1.0, -1e-6, math.nan])
def test_a_delta_that_is_none_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="delta"):
        epsilon([], delta=target)


def test_a_negative_epsilon_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        delta([], epsilon=-0.1)


def test_the_accountant_has_a_name_and_a_version() -> None:
    assert len(ACCOUNTANT.split()) == 2
