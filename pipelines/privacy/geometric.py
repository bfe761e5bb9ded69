"""Privacy loss of two-sided geometric noise, which takes finitely many values."""

import math

import numpy as np
from numpy.typing import NDArray

from pipelines.privacy.mechanisms import GeometricRelease

Floats = NDArray[np.float64]


def geometric_losses(mechanism: GeometricRelease) -> tuple[Floats, Floats]:
    """Losses [A] and their chances [A] when a unit moves the counts by its whole sensitivity.

    Counts are whole numbers. A unit that moves several cells gives away less than one that moves a single cell by the
    same sum: for log-concave noise the single cell's trade-off is what group privacy allows at worst. A sensitivity
    that is not whole is answered by randomised response, which gives away most of all with the same pure epsilon.
    """
    moved, scale = mechanism.sensitivity, mechanism.scale
    if moved != int(moved):
        losses = np.array([moved, -moved]) / scale
        return losses, 1 / (1 + np.exp(-losses))
    a = math.exp(-1 / scale)
    noise = np.arange(int(moved) + 1, dtype=float)  # 0 and less, 1, 2, .., the sensitivity and more
    chances = (1 - a) / (1 + a) * a**noise
    chances[0], chances[-1] = 1 / (1 + a), a**moved / (1 + a)
    return (moved - 2.0 * noise) / scale, chances
