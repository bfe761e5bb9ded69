import math

import numpy as np
import pytest
from dp_accounting import dp_event, rdp
from opacus.accountants.analysis.rdp import compute_rdp

from pipelines.privacy.accounting import epsilon as epsilon_of_all
from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease, Mechanism, PrivateTraining, RandomStopping
from pipelines.privacy.renyi import (
    ORDERS,
    best_order,
    convert,
    delta_of,
    epsilon_of,
    expected_trials,
    filter_cap,
    renyi,
)


def training(noise: float, rate: float, steps: int, group: int = 1) -> PrivateTraining:
    return PrivateTraining(noise, rate, steps, max_grad_norm=1.0, group_size=group)


GOLDEN = [
    (1.0, 64 / 3114, 4900, 1e-5, 10.400),
    (2.0, 64 / 3114, 4900, 1e-5, 3.552),
    (4.0, 0.02, 1000, 1e-5, 0.637),
    (10.0, 0.05, 400, 1e-6, 0.436),
    (0.7, 0.01, 1000, 1e-5, 5.422),
    (1.0, 1.0, 1, 1e-5, 4.729),
    (5.0, 1.0, 10, 1e-5, 2.814),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "delta", "golden"), GOLDEN)
def test_golden_values_are_met(noise: float, rate: float, steps: int, delta: float, golden: float) -> None:
    found = convert([training(noise, rate, steps)], delta=delta)
    assert found.epsilon == pytest.approx(golden, rel=0.002)
    assert not found.at_end


@pytest.mark.parametrize("order", [1.5, 2.0, 3.3, 17.0, 64.0])
@pytest.mark.parametrize(("noise", "rate"), [(1.0, 0.02), (0.6, 0.3), (8.0, 0.082)])
def test_every_order_is_what_opacus_and_dp_accounting_say(noise: float, rate: float, order: float) -> None:
    ours = renyi(training(noise, rate, 1), order)
    assert ours == pytest.approx(compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=order), rel=1e-6)
    accountant = rdp.RdpAccountant([order])
    accountant.compose(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise)))
    if order == int(order):
        assert ours == pytest.approx(accountant._rdp[0], rel=1e-6)
    else:
        assert ours < accountant._rdp[0]  # a bound, of its neighbours


@pytest.mark.parametrize("order", [2.0, 5.0, 40.0])
def test_quadrature_and_closed_sum_agree_at_whole_orders(order: float) -> None:
    above = order + 1e-7  # by quadrature
    assert renyi(training(0.9, 0.05, 3), above) == pytest.approx(renyi(training(0.9, 0.05, 3), order), rel=1e-5)


def by_hand(noise: float, rate: float, group: int, order: float) -> float:
    """Both directions of a group's divergence, by a sum over a fine grid in plain numbers."""
    x = np.linspace(-40 * noise, 40 * noise, 200_001)
    chance = [math.comb(group, k) * rate**k * (1 - rate) ** (group - k) for k in range(group + 1)]
    bells = [np.exp(-(((x - k) / noise) ** 2) / 2) for k in range(group + 1)]
    mixed = sum(weight * bell for weight, bell in zip(chance, bells, strict=True))
    kept = bells[0] > 1e-280
    step = (x[1] - x[0]) / noise / math.sqrt(2 * math.pi)
    pairs = ((mixed[kept], bells[0][kept]), (bells[0][kept], mixed[kept]))
    return max(math.log((p * (p / q) ** (order - 1)).sum() * step) / (order - 1) for p, q in pairs)


@pytest.mark.parametrize(("group", "order"), [(2, 2.0), (7, 1.5), (7, 3.0)])
def test_a_group_costs_what_its_definition_says(group: int, order: float) -> None:
    assert renyi(training(4.0, 0.082, 1, group), order) == pytest.approx(by_hand(4.0, 0.082, group, order), rel=1e-6)


def test_a_group_of_one_sample_is_a_plain_step_by_quadrature_too() -> None:
    assert by_hand(1.0, 0.3, 1, 3.0) == pytest.approx(renyi(training(1.0, 0.3, 1), 3.0), rel=1e-6)


def test_releases_have_their_closed_forms() -> None:
    assert renyi(GaussianRelease(48**0.5, 29.3), 7.0) == pytest.approx(7 * 0.02796, rel=1e-3)
    pure = renyi(GeometricRelease(1, 2.0), 1e6)
    assert 0.49 < pure <= 0.5
    a, order = math.exp(-0.5), 3.0
    moment = (math.exp((order - 1) / 2) + a * math.exp(-(order - 1) / 2)) / (1 + a)
    assert renyi(GeometricRelease(1, 2.0), order) == pytest.approx(math.log(moment) / (order - 1))


def test_steps_add_up() -> None:
    assert renyi(training(2.0, 0.1, 50), 4.0) == pytest.approx(50 * renyi(training(2.0, 0.1, 1), 4.0))


PAPER = [  # noise multiplier, batch, the paper's epsilon
    (35, 5, 0.0650),
    (70, 5, 0.0399),
    (140, 10, 0.0357),
    (500, 5, 0.0317),
]
PAPERS_ORDERS = [1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0, 4.5, *map(float, range(5, 64)), 128.0, 256.0, 512.0]


def papers_conversion(total: float, *, order: float, delta: float) -> float:
    return total - math.log(delta) / (order - 1)


@pytest.mark.parametrize(("noise", "batch", "published"), PAPER)
def test_the_papers_epsilon_is_the_end_of_its_grid(noise: float, batch: int, published: float) -> None:
    """Arcolezi et al., arXiv:2205.00436: 100 epochs of 3120 windows, delta 1e-7; rounded or cut at 4 digits."""
    mechanism = training(noise, batch / 3120, 100 * 3120 // batch)
    found = convert([mechanism], delta=1e-7, orders=PAPERS_ORDERS, by=papers_conversion)
    assert found.epsilon == pytest.approx(published, abs=1e-4)
    assert found.at_end
    assert epsilon_of_all([mechanism], delta=1e-7) < published


SEARCHES = [  # noise multiplier, one trial, the best of 3, 10, 30, 100 on average; 10 kept
    (16.0, 0.49, [0.85, 1.03, 1.16, 1.28]),
    (8.0, 1.05, [1.72, 2.08, 2.35, 2.59]),
    (4.0, 2.27, [3.53, 4.26, 4.80, 5.31]),
]


@pytest.mark.parametrize(("noise", "one", "best"), SEARCHES)
def test_a_search_with_random_stopping_costs_what_the_table_says(noise: float, one: float, best: list[float]) -> None:
    trial = training(noise, 256 / 3114, 486)
    assert convert([trial], delta=1e-6).epsilon == pytest.approx(one, rel=0.01)
    searches = [RandomStopping(trial, eta=1.0, gamma=1 / mean) for mean in (3, 10, 30, 100)]
    assert [epsilon_of_all([search], delta=1e-6) for search in searches] == pytest.approx(best, rel=0.01)


@pytest.mark.parametrize(("eta", "gamma"), [(1.0, 0.1), (0.5, 0.2), (2.0, 0.3), (-0.5, 0.4), (0.0, 0.25)])
def test_trials_are_as_many_as_the_distribution_says(eta: float, gamma: float) -> None:
    """Pr[K = k] ~ (1 - gamma)^k prod_{l < k} (l + eta) / (l + 1); for eta 0 ~ (1 - gamma)^k / k."""
    k = np.arange(1, 2000)
    ratios = (k[:-1] + eta) / (k[:-1] + 1) * (1 - gamma)
    chance = np.concatenate([[1.0], np.cumprod(ratios)])
    search = RandomStopping(training(4.0, 0.1, 10), eta=eta, gamma=gamma)
    assert expected_trials(search) == pytest.approx(float(k @ chance / chance.sum()), rel=1e-6)


@pytest.mark.parametrize("mechanism", [training(8.0, 0.082, 486), GaussianRelease(1, 5.0), GeometricRelease(1, 3.0)])
def test_what_a_filter_lets_through_keeps_the_promise(mechanism: Mechanism) -> None:
    order = best_order(epsilon=2.0, delta=1e-6)
    cap = filter_cap(epsilon=2.0, delta=1e-6, order=order)
    assert epsilon_of(cap, order=order, delta=1e-6) == pytest.approx(2.0)
    admitted = int(cap / renyi(mechanism, order))
    assert admitted >= 1
    assert epsilon_of_all([mechanism] * admitted, delta=1e-6) < 2.0


def test_the_best_order_is_of_the_size_that_workloads_need() -> None:
    assert [best_order(epsilon=epsilon, delta=1e-6) for epsilon in (1, 2, 4)] == [22.0, 12.0, 7.2]


def test_an_order_at_which_nothing_could_be_spent_is_refused_with_a_better_one() -> None:
    with pytest.raises(ValueError, match=r"order 3 nothing.*order 22 would do"):
        filter_cap(epsilon=1.0, delta=1e-6, order=3.0)


def test_a_promise_that_no_order_can_enforce_is_refused() -> None:
    with pytest.raises(ValueError, match="no Rényi order"):
        best_order(epsilon=0.001, delta=1e-6)


def test_delta_is_the_inverse_of_epsilon() -> None:
    assert delta_of(0.5, order=9.0, epsilon=epsilon_of(0.5, order=9.0, delta=1e-6)) == pytest.approx(1e-6)
    assert delta_of(5.0, order=9.0, epsilon=0.1) == 1.0


def test_an_order_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="above 1"):
        renyi(GaussianRelease(1, 1), 1.0)


def test_the_grid_holds_all_orders_that_are_asked_for() -> None:
    assert {1.1, 1.2, 5.5, 10.9, 11.0, 64.0, 80.0, 1024.0} <= set(ORDERS)
    assert list(ORDERS) == sorted(set(ORDERS))
