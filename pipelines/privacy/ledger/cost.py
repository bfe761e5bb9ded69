"""What mechanisms cost, as decimal numbers that never flatter the spender.

The filter counts Renyi divergence at the policy's order, rounded up; its cap is rounded down. What people are shown is
the accountant's epsilon at the policy's delta, rounded up.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache

from pipelines.privacy import accounting, renyi
from pipelines.privacy.ledger.past import Past
from pipelines.privacy.ledger.records import Policy
from pipelines.privacy.mechanisms import Mechanism

UNIT = Decimal("1e-12")
SLACK = Decimal("1e-9")  # relative; what floating point may have lost on the way
SHOWN = Decimal("1e-6")


@lru_cache(maxsize=20_000)
def divergence(mechanism: Mechanism, order: float) -> Decimal:
    """Of one mechanism at this Renyi order, rounded up; infinite where it has none."""
    found = Decimal(renyi.renyi(mechanism, order))
    return (found * (1 + SLACK)).quantize(UNIT, ROUND_CEILING) if found.is_finite() else Decimal("Infinity")


def total(mechanisms: Iterable[Mechanism], order: float) -> Decimal:
    return sum((divergence(mechanism, order) for mechanism in mechanisms), Decimal(0))


@lru_cache(maxsize=20_000)
def spent(past: Past, order: float) -> Decimal:
    """The total of all that a block has seen."""
    return sum((times * divergence(mechanism, order) for mechanism, times in past.counts), Decimal(0))


@lru_cache(maxsize=20_000)
def promised(divergence: Decimal, policy: Policy) -> Decimal:
    """Epsilon that the filter stands for after this much divergence, rounded up."""
    found = renyi.epsilon_of(float(divergence), order=policy.order, delta=policy.delta)
    return _shown(Decimal(found) * (1 + SLACK))


@lru_cache(maxsize=1000)
def cap(policy: Policy) -> Decimal:
    """The most divergence that a block may see, rounded down. Raises ValueError where the order admits none."""
    found = Decimal(renyi.filter_cap(epsilon=policy.epsilon, delta=policy.delta, order=policy.order))
    return found.quantize(UNIT, ROUND_FLOOR)


def epsilon(mechanisms: Sequence[Mechanism], delta: float) -> Decimal:
    """Of all of them together, by the reporting accountant, rounded up."""
    return _epsilon(tuple(sorted(mechanisms, key=repr)), delta)


@lru_cache(maxsize=20_000)
def _epsilon(mechanisms: tuple[Mechanism, ...], delta: float) -> Decimal:
    found = Decimal(accounting.epsilon(mechanisms, delta=delta)) if mechanisms else Decimal(0)
    return _shown(found)


def _shown(epsilon: Decimal) -> Decimal:
    return epsilon.quantize(SHOWN, ROUND_CEILING) if epsilon.is_finite() else Decimal("Infinity")
