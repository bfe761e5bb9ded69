"""Privacy units in numbers: how many windows a unit is in, and which delta a number of units allows."""

MOST_DELTA = 1e-6


def windows_of(*, slots: int, window: int, horizon: int, stride: int, delay: int = 0) -> int:
    """The most windows that `slots` slots in a row can be in: the group size of their unit.

    A window spans window + delay + horizon slots and starts every `stride` slots. A data set with fewer windows has a
    group no larger than it: take the smaller.
    """
    if min(slots, window, horizon, stride) < 1 or delay < 0:
        raise ValueError(
            f"slots {slots}, window {window}, horizon {horizon} and stride {stride} must be 1 or more, delay {delay} 0"
        )
    span = window + delay + horizon
    return -(-(slots + span - 1) // stride)


def default_delta(units: int | None) -> float:
    """At most 1e-6, and at most a tenth of one in `units`; `units` is public: a lower bound of how many there are."""
    return MOST_DELTA if units is None else min(MOST_DELTA, 1 / (10 * _at_least_one(units)))


def require_delta(delta: float, *, units: int) -> None:
    """Raises ValueError for a delta at which giving away one unit's data whole would keep the promise."""
    if not 0 < delta < 1 / _at_least_one(units):
        raise ValueError(
            f"delta is {delta:g} for {units:,} units: it must be above 0 and below {1 / units:.3g}, "
            f"better at most {default_delta(units):.3g}"
        )


def _at_least_one(units: int) -> int:
    if units < 1:
        raise ValueError(f"there are {units} units; there must be one at least")
    return units
