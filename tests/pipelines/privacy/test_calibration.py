import math
from typing import Any

import numpy as np
import pytest

from pipelines.privacy.accounting import epsilon as epsilon_of_all
from pipelines.privacy.calibration import (
    gaussian_scale,
    geometric_scale,
    noise_multiplier,
    release_of_least_variance,
    variance,
)
from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease, PrivateTraining

RELEASES = [  # L2 sensitivity, epsilon, scale at delta 1e-6
    (1, 0.5, 8.1),
    (1, 1, 4.2),
    (48**0.5, 0.5, 55.8),
    (48**0.5, 1, 29.3),
    (48**0.5, 2, 15.5),
    (48**0.5, 4, 8.3),
    (336**0.5, 1, 77.4),
    (3120**0.5, 1, 236.0),
    (3120**0.5, 4, 66.7),
]


@pytest.mark.parametrize(("sensitivity", "epsilon", "scale"), RELEASES)
def test_a_release_needs_the_noise_of_the_table(sensitivity: float, epsilon: float, scale: float) -> None:
    assert gaussian_scale(sensitivity=sensitivity, epsilon=epsilon, delta=1e-6) == pytest.approx(scale, abs=0.06)


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 1.0, 3.7, 20.0])
@pytest.mark.parametrize("sensitivity", [1.0, 48**0.5, 300.0])
def test_a_calibrated_release_keeps_its_promise_without_waste(sensitivity: float, epsilon: float) -> None:
    scale = gaussian_scale(sensitivity=sensitivity, epsilon=epsilon, delta=1e-6)
    spent = epsilon_of_all([GaussianRelease(sensitivity, scale)], delta=1e-6)
    assert epsilon * (1 - 1e-6) <= spent <= epsilon
    geometric = GeometricRelease(sensitivity, geometric_scale(sensitivity=sensitivity, epsilon=epsilon))
    assert epsilon_of_all([geometric], delta=1e-12) <= epsilon * (1 + 1e-12)


@pytest.mark.parametrize("release", [GaussianRelease(1, 4.2), GeometricRelease(1, 1.0), GeometricRelease(1, 30.0)])
def test_a_variance_is_that_of_the_noise(release: GaussianRelease | GeometricRelease) -> None:
    z = np.arange(-2000.0, 2001)
    gaussian = isinstance(release, GaussianRelease)
    chance = np.exp(-((z / release.scale) ** 2) / 2 if gaussian else -np.abs(z) / release.scale)
    assert variance(release) == pytest.approx(float(z**2 @ chance / chance.sum()))


def test_one_trip_takes_geometric_noise_and_a_person_day_gaussian() -> None:
    trip = release_of_least_variance(l1=1, l2=1, epsilon=1.0, delta=1e-6)
    assert isinstance(trip, GeometricRelease)
    assert math.sqrt(variance(trip)) == pytest.approx(1.36, abs=0.01)
    day = release_of_least_variance(l1=48, l2=48**0.5, epsilon=1.0, delta=1e-6)
    assert isinstance(day, GaussianRelease)
    assert math.sqrt(variance(day)) == pytest.approx(29.3, abs=0.05)


TRAININGS = [  # steps, delta, rate, epsilon, noise multiplier; the table's are for an accountant that adds 0.01
    (4900, 1e-5, 64 / 3114, 1.0 - 0.01, 5.51),
    (4900, 1e-5, 64 / 3114, 8.0 - 0.01, 1.10),
    (486, 1e-6, 256 / 3114, 0.9671, 8.0),
]


@pytest.mark.parametrize(("steps", "delta", "rate", "epsilon", "noise"), TRAININGS)
def test_a_training_needs_the_noise_of_the_table(
    steps: int, delta: float, rate: float, epsilon: float, noise: float
) -> None:
    found = noise_multiplier(epsilon=epsilon, delta=delta, sample_rate=rate, steps=steps)
    assert found == pytest.approx(noise, rel=0.006)


@pytest.mark.parametrize("group", [1, 7])
@pytest.mark.parametrize("epsilon", [0.5, 20.0])
def test_a_calibrated_training_keeps_its_promise_without_waste(epsilon: float, group: int) -> None:
    noise = noise_multiplier(epsilon=epsilon, delta=1e-6, sample_rate=0.05, steps=100, group_size=group)
    spent, less = (
        epsilon_of_all([PrivateTraining(each, 0.05, 100, max_grad_norm=1.0, group_size=group)], delta=1e-6)
        for each in (noise, noise * (1 - 2e-4))
    )
    assert spent <= epsilon < less


@pytest.mark.parametrize(
    "changed", [{"epsilon": 0.0}, {"epsilon": math.inf}, {"delta": 0.0}, {"delta": 1.0}, {"steps": 0}]
)
def test_a_target_without_meaning_is_refused(changed: dict[str, Any]) -> None:
    target = {"epsilon": 1.0, "delta": 1e-6, "sample_rate": 0.1, "steps": 10}
    with pytest.raises(ValueError, match=next(iter(changed))):
        noise_multiplier(**{**target, **changed})


def test_a_target_that_no_noise_meets_is_refused() -> None:
    with pytest.raises(ValueError, match="not even a noise multiplier"):
        noise_multiplier(epsilon=1e-9, delta=1e-12, sample_rate=1.0, steps=10**6)
