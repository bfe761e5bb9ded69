import math
from itertools import pairwise

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as other
from hypothesis import given
from hypothesis import strategies as st

from pipelines.privacy.gaussian import continuous_scale, gaussian_delta, gaussian_epsilon, gaussian_mu, integer_scale

# Scales of noise over sensitivity: the classic formula's, and the exact one's.
TABLE = [
    (0.1, 1e-6, 52.99, 36.31),
    (0.5, 1e-6, 10.60, 8.06),
    (1, 1e-6, 5.30, 4.23),
    (1, 1e-5, 4.85, 3.73),
    (2, 1e-6, 2.65, 2.23),
    (4, 1e-6, 1.33, 1.19),
]


@pytest.mark.parametrize(("epsilon", "delta", "classic", "exact"), TABLE)
def test_the_exact_scale_of_the_table_meets_its_delta(
    epsilon: float, delta: float, classic: float, exact: float
) -> None:
    scale = 1 / gaussian_mu(epsilon=epsilon, delta=delta)
    assert scale == pytest.approx(exact, abs=0.0065)  # the table rounds 4.2247 up to 4.23
    assert gaussian_delta(mu=1 / scale, epsilon=epsilon) == pytest.approx(delta, rel=1e-5)


@pytest.mark.parametrize(("epsilon", "delta", "classic", "exact"), TABLE)
def test_the_classic_scale_wastes_noise(epsilon: float, delta: float, classic: float, exact: float) -> None:
    assert math.sqrt(2 * math.log(1.25 / delta)) / epsilon == pytest.approx(classic, abs=0.006)
    assert gaussian_delta(mu=1 / classic, epsilon=epsilon) < delta


@given(st.floats(0.01, 30), st.floats(-12, -0.5))
def test_epsilon_is_where_delta_is_met(mu: float, log10: float) -> None:
    delta = 10**log10
    epsilon = gaussian_epsilon(mu=mu, delta=delta)
    assert gaussian_delta(mu=mu, epsilon=epsilon) <= delta
    assert epsilon == 0 or gaussian_delta(mu=mu, epsilon=epsilon * (1 - 1e-6)) > delta


@given(st.floats(0.001, 200), st.floats(-12, -0.5))
def test_a_promise_is_kept_when_it_is_accounted(epsilon: float, log10: float) -> None:
    mu = gaussian_mu(epsilon=epsilon, delta=10**log10)
    assert 0.999 * epsilon <= gaussian_epsilon(mu=mu, delta=10**log10) <= epsilon


def losses(scale: float, moved: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one count with integer noise Pr[z] ~ e^(-z^2 / 2 s^2) that a unit moves by `moved`, summed out."""
    z = np.arange(-int(14 * scale + 12), int(14 * scale + 13))
    chance = np.exp(-(z**2) / (2 * scale**2))
    kept = chance > 0
    return (moved**2 + 2 * z[kept] * moved) / (2 * scale**2), chance[kept] / chance.sum()


@pytest.mark.parametrize("scale", [0.4, 0.7, 1, 2, 4.23, 29.3])
@pytest.mark.parametrize("moved", [1, 2, 5, 10])
def test_integer_noise_hides_no_less_than_is_said_anywhere_on_its_lattice(scale: float, moved: int) -> None:
    loss, chance = losses(scale, moved)
    mu = moved / continuous_scale(scale)
    for epsilon in np.concatenate([np.linspace(0, 12 * mu, 200), (loss[:-1] + loss[1:]) / 2]):
        said = gaussian_delta(mu=mu, epsilon=max(0.0, epsilon))
        true = chance @ -np.expm1(np.minimum(0, max(0.0, epsilon) - loss))
        assert said < 1e-13 or true <= said * (1 + 1e-9)


def test_continuous_noise_of_the_same_scale_would_say_too_little() -> None:
    loss, chance = losses(2.0, 1)
    worst = max(
        chance[loss > epsilon] @ -np.expm1(epsilon - loss[loss > epsilon]) / gaussian_delta(mu=0.5, epsilon=epsilon)
        for epsilon in np.linspace(0, 3.3, 300)
    )
    assert worst > 1.3


def test_integer_noise_is_accounted_as_dp_accounting_does() -> None:
    theirs = other.from_discrete_gaussian_mechanism(4.23, sensitivity=1).self_compose(7).get_epsilon_for_delta(1e-6)
    ours = gaussian_epsilon(mu=math.sqrt(7) / continuous_scale(4.23), delta=1e-6)
    assert theirs <= ours <= 1.005 * theirs


def test_scales_of_integer_and_continuous_noise_are_each_others_inverse() -> None:
    scales = [0.01, 0.2, 0.359, 0.361, 1.0, 4.2, 500.0]
    assert [integer_scale(continuous_scale(scale)) for scale in scales] == pytest.approx(scales, rel=1e-12)
    assert all(continuous_scale(low) < continuous_scale(high) for low, high in pairwise(scales))
