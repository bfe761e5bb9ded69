import math

import numpy as np
import pytest

from pipelines.privacy.geometric import geometric_losses
from pipelines.privacy.mechanisms import GeometricRelease


@pytest.mark.parametrize(("moved", "scale"), [(1, 0.7), (3, 2.0), (48, 48.0)])
def test_losses_and_chances_are_those_of_the_noise(moved: int, scale: float) -> None:
    losses, chances = geometric_losses(GeometricRelease(moved, scale))
    z = np.arange(-3000, 3001)
    noise = np.exp(-np.abs(z) / scale)
    exact = (np.abs(z - moved) - np.abs(z)) / scale
    by_hand = [float((noise / noise.sum())[np.isclose(exact, loss)].sum()) for loss in losses]
    assert chances == pytest.approx(by_hand, rel=1e-9)
    assert chances.sum() == pytest.approx(1)


def test_a_sensitivity_that_is_not_whole_is_randomised_response() -> None:
    losses, chances = geometric_losses(GeometricRelease(2.5, 2.5))
    assert list(losses) == [1.0, -1.0]
    assert chances[0] / chances[1] == pytest.approx(math.e)


def test_moving_many_cells_by_one_gives_away_less_than_moving_one_by_all() -> None:
    losses, chances = geometric_losses(GeometricRelease(3, 1.5))
    one, half = geometric_losses(GeometricRelease(1, 1.5))
    total = (one[:, None, None] + one[:, None] + one).ravel()
    chance = (half[:, None, None] * half[:, None] * half).ravel()
    for epsilon in np.linspace(-2, 2, 41):
        single = chances @ np.clip(1 - np.exp(epsilon - losses), 0, None)
        assert chance @ np.clip(1 - np.exp(epsilon - total), 0, None) <= single + 1e-12
