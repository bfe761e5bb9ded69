"""The ranges of the paper's data sets, as its code gives them."""

import pytest

from pipelines.errors import SpecError
from pipelines.graph_task.ranges import SampleRanges, sample_ranges
from pipelines.spec import Split


@pytest.mark.parametrize(
    ("steps", "test", "ahead", "expected"),
    [
        (138, 0.2, 1, (10, 95, 109, 137)),  # BC-OTC, links
        (138, 0.2, 0, (10, 95, 109, 138)),  # BC-OTC, edge classes: a step more
        (137, 0.2, 1, (10, 95, 108, 136)),  # BC-Alpha
        (89, 0.19, 1, (10, 62, 71, 88)),  # UCI
        (100, 0.2, 1, (10, 69, 79, 99)),  # AS
    ],
)
def test_ranges_are_those_of_the_papers_code(steps: int, test: float, ahead: int, expected: tuple[int, ...]) -> None:
    found = sample_ranges(steps, Split(validation=0.1, test=test), window=11, ahead=ahead)
    assert found == SampleRanges(*expected)


def test_whole_numbers_count_steps() -> None:
    assert sample_ranges(30, Split(validation=4, test=5), window=3, ahead=1) == SampleRanges(2, 20, 24, 29)


def test_a_history_too_short_is_told_with_the_range_that_is_empty() -> None:
    with pytest.raises(SpecError, match="leave no step for training"):
        sample_ranges(12, Split(), window=11, ahead=1)


def test_a_share_that_falls_on_a_step_does_not_lose_it_to_rounding() -> None:
    """20 * (1 - 0.15 - 0.2) is 12.999999999999998."""
    assert sample_ranges(21, Split(validation=0.15, test=0.2), window=2, ahead=1).train_end == 13
