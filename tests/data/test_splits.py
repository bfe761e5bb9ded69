import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers

from data.splits import cut_ranges


@given(steps=integers(100, 5000), validation=floats(0.05, 0.3), test=floats(0.05, 0.3))
def test_the_ranges_follow_each_other_and_cover_all_steps(steps: int, validation: float, test: float) -> None:
    ranges = cut_ranges(steps, validation=validation, test=test, window=3, horizon=2)
    assert 0 < ranges.train_end < ranges.validation_end < ranges.end == steps
    assert ranges.end - ranges.validation_end == round(test * steps)


def test_a_whole_number_is_a_count_of_steps() -> None:
    ranges = cut_ranges(3504, validation=336, test=336, window=6, horizon=1)
    assert (ranges.train_end, ranges.validation_end, ranges.end) == (2832, 3168, 3504)


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"validation": 0.1, "test": 0.2, "window": 60, "horizon": 24}, "training"),
        ({"validation": 0.1, "test": 0.2, "window": 6, "horizon": 11}, "validation"),
        ({"validation": 50, "test": 5, "window": 6, "horizon": 11}, "test"),
        ({"validation": 80, "test": 80, "window": 6, "horizon": 11}, "training"),
    ],
)
def test_a_range_too_short_for_one_sample_is_named(sizes: dict, named: str) -> None:
    with pytest.raises(ValueError, match=f"the {named} range has"):
        cut_ranges(100, **sizes)
