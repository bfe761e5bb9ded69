import pytest

from pipelines.privacy.units import default_delta, require_delta, windows_of


@pytest.mark.parametrize("slots", [1, 2, 48])
@pytest.mark.parametrize("stride", [1, 2, 3, 7, 10])
@pytest.mark.parametrize("delay", [0, 2])
def test_no_run_of_slots_is_in_more_windows_than_is_said_and_some_is_in_as_many(
    slots: int, stride: int, delay: int
) -> None:
    span = 6 + delay + 1
    starts = range(0, 500, stride)
    counts = [
        sum(start < first + slots and first < start + span for start in starts)
        for first in range(span, 500 - slots - span)
    ]
    assert max(counts) == windows_of(slots=slots, window=6, horizon=1, stride=stride, delay=delay)


def test_a_person_day_of_half_hours_is_in_54_windows() -> None:
    assert windows_of(slots=48, window=6, horizon=1, stride=1) == 54
    assert windows_of(slots=1, window=6, horizon=1, stride=7) == 1


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"stride": 0}, {"delay": -1}])
def test_windows_without_extent_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        windows_of(**{"slots": 1, "window": 6, "horizon": 1, "stride": 1, **wrong})


def test_delta_is_a_millionth_or_a_tenth_of_one_unit() -> None:
    assert [default_delta(units) for units in (None, 10, 100_000, 1_000_000)] == [1e-6, 1e-6, 1e-6, 1e-7]


@pytest.mark.parametrize("delta", [0.0, -1e-6, 1e-4, 1e-3, float("nan")])
def test_a_delta_that_lets_a_whole_unit_out_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="10,000 units"):
        require_delta(delta, units=10_000)
    require_delta(9e-5, units=10_000)


def test_no_units_are_no_lower_bound() -> None:
    with pytest.raises(ValueError, match="0 units"):
        default_delta(0)
