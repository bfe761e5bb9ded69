import math
from itertools import product

import numpy as np
import pytest

from pipelines.privacy.gaussian import gaussian_delta, gaussian_epsilon
from pipelines.privacy.loss_distribution import LossDistribution, compose, of_gaussian, of_geometric, of_mixture
from pipelines.privacy.mixture import Mixture


def test_delta_and_epsilon_of_a_distribution_agree_with_their_sums() -> None:
    loss = LossDistribution(0.5, -1, np.array([0.2, 0.3, 0.2, 0.25]), infinite=0.05)
    by_hand = 0.05 + 0.2 * (1 - math.exp(0.3 - 0.5)) + 0.25 * (1 - math.exp(0.3 - 1.0))
    assert loss.delta(0.3) == pytest.approx(by_hand)
    assert loss.epsilon(by_hand) == pytest.approx(0.3)
    assert loss.epsilon(0.9) == 0
    assert loss.epsilon(0.05) == math.inf


@pytest.mark.parametrize("times", [1, 2, 50, 1000, 5000])
@pytest.mark.parametrize("mu", [0.3, 1.0, 5.0])
def test_composed_gaussian_noise_never_costs_less_than_its_closed_form(times: int, mu: float) -> None:
    """Above by 3e-4 of delta and by the charge for rounding, 1e-15 a step, at most."""
    step = mu / math.sqrt(times)
    loss = compose([(of_gaussian(step, interval=0.01 * step), times)])
    for target in (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-11, 1e-12, 1e-13):
        epsilon = gaussian_epsilon(mu=mu, delta=target)
        exact = gaussian_delta(mu=mu, epsilon=epsilon)
        assert exact <= loss.delta(epsilon) <= exact * (1 + 1e-3) + 3e-14 + 2e-15 * times


@pytest.mark.parametrize("coarse", [0.3, 3.0])
def test_a_coarse_grid_costs_more_never_less(coarse: float) -> None:
    exact = gaussian_epsilon(mu=1.0, delta=1e-6)
    loss = compose([(of_gaussian(0.25, interval=coarse * 0.25), 16)])
    assert exact < loss.epsilon(1e-6) < 4 * exact


def direct(mixture: Mixture, epsilon: float) -> tuple[float, float]:
    """Delta of one step, unit removed and added, by quadrature of max(0, P - e^epsilon Q)."""
    x = np.linspace(-12 * mixture.noise, mixture.size + 12 * mixture.noise, 400_001)
    weights = [math.comb(mixture.size, k) * mixture.rate**k for k in range(mixture.size + 1)]
    weights = [weight * (1 - mixture.rate) ** (mixture.size - k) for k, weight in enumerate(weights)]
    bells = [np.exp(-(((x - k) / mixture.noise) ** 2) / 2) for k in range(mixture.size + 1)]
    scale = (x[1] - x[0]) / (mixture.noise * math.sqrt(2 * math.pi))
    mixed = sum(weight * bell for weight, bell in zip(weights, bells, strict=True))
    return tuple(
        float(np.clip(p - math.exp(epsilon) * q, 0, None).sum()) * scale
        for p, q in ((mixed, bells[0]), (bells[0], mixed))
    )


@pytest.mark.parametrize(("noise", "rate", "size"), [(1.0, 0.02, 1), (0.6, 0.3, 1), (2.0, 0.1, 7), (0.8, 0.9, 3)])
def test_one_step_costs_what_its_definition_says_in_both_directions(noise: float, rate: float, size: int) -> None:
    mixture = Mixture(noise, rate, size)
    losses = of_mixture(mixture, interval=1e-3)
    for epsilon in (0.0, 0.1, 0.5, 1.0, 3.0):
        for loss, exact in zip(losses, direct(mixture, epsilon), strict=True):
            assert loss.delta(epsilon) == pytest.approx(exact, rel=1e-4, abs=1e-10)
            assert loss.delta(epsilon) >= exact - 1e-9 * (1 + exact)


def test_all_of_the_chance_is_kept() -> None:
    losses = [*of_mixture(Mixture(0.7, 0.01, 1), interval=1e-3), *of_mixture(Mixture(4.0, 0.1, 54), interval=0.01)]
    assert [loss.mass.sum() + loss.infinite for loss in losses] == pytest.approx([1.0] * 4, abs=1e-12)


def test_finitely_many_losses_cost_more_between_the_grids_points_and_as_much_on_them() -> None:
    losses, chances = np.array([1.21, 0.37, -0.44, -0.9]), np.array([0.4, 0.3, 0.2, 0.1])
    loss = of_geometric(losses, chances, interval=0.25)
    for epsilon in np.arange(-2, 2, 0.05):
        exact = float(chances @ np.clip(1 - np.exp(epsilon - losses), 0, None))
        assert loss.delta(epsilon) >= exact - 1e-12
        if abs(epsilon / 0.25 - round(epsilon / 0.25)) < 1e-9:
            assert loss.delta(epsilon) == pytest.approx(exact, abs=1e-12)


def test_different_mechanisms_compose_as_all_their_pairs_do() -> None:
    first = of_geometric(np.array([0.5, -0.5]), np.array([0.62, 0.38]), interval=0.1)
    second = of_geometric(np.array([0.8, 0.1, -0.7]), np.array([0.3, 0.5, 0.2]), interval=0.1)
    together = compose([(first, 2), (second, 1)])
    pairs = list(product(*(list(zip(part.losses, part.mass, strict=True)) for part in (first, first, second))))
    for epsilon in (0.0, 0.33, 1.2):
        by_hand = sum(
            math.prod(chance for _, chance in each) * max(0.0, 1 - math.exp(epsilon - sum(loss for loss, _ in each)))
            for each in pairs
        )
        assert by_hand <= together.delta(epsilon) <= by_hand + 1e-13
