"""Figures that are compared are rounded against the spender."""

from decimal import Decimal
from fractions import Fraction

import pytest

from pipelines.privacy.ledger import Policy, cost
from pipelines.privacy.mechanisms import GaussianRelease


@pytest.mark.parametrize("scale", [3.0, 7.0, 11.0, 13.0, 29.3])
def test_a_divergence_is_never_rounded_down(scale: float) -> None:
    """Of a Gaussian it is order / 2 (sensitivity / scale)^2."""
    exact = Fraction(7, 2) / Fraction(scale) ** 2
    counted = Fraction(cost.divergence(GaussianRelease(sensitivity=1.0, scale=scale), 7.0))
    assert exact <= counted <= exact * (1 + Fraction(1, 10**8)) + Fraction(1, 10**12)


def test_many_small_costs_add_up_exactly() -> None:
    small = GaussianRelease(sensitivity=1.0, scale=1000.0)
    assert cost.total([small] * 10_000, 7.0) == 10_000 * cost.divergence(small, 7.0)


def test_the_cap_is_rounded_down_and_what_is_shown_up() -> None:
    made = Policy("city", "bikes", "trip", 2.0, 1e-6, 12.0)
    # epsilon - ln((a - 1) / a) + (ln delta + ln a) / (a - 1), in 40 digits
    assert Decimal("1.0569564762") < cost.cap(made) <= Decimal("1.0569564762463321485")
    shown = cost.epsilon([GaussianRelease(sensitivity=4.0, scale=20.0)], 1e-6)
    assert Decimal("0.8341") < shown < Decimal("0.8344")  # the integer lattice adds a little
    assert shown == shown.quantize(Decimal("1e-6"))
