import pytest
from hypothesis import given
from hypothesis.strategies import dates, integers, sampled_from, sets

from pipelines.privacy.ledger.blocks import fold, fold_equal, is_block, is_range, kind_of, unfold, within


@given(sets(dates().map(lambda day: day.isoformat()), max_size=30))
def test_folded_days_unfold_to_themselves(days: set[str]) -> None:
    assert set(unfold(fold(days))) == days


@given(integers(2000, 2040), sampled_from(["W51", "W52", "W01"]), integers(1, 60))
def test_weeks_go_on_over_the_end_of_a_year(year: int, week: str, count: int) -> None:
    first = f"{year}-{week}"
    blocks = [first]
    while len(blocks) < count:
        blocks = list(unfold([f"{first}..{year + 3}-W01"]))[:count]
    assert len(set(blocks)) == count
    assert all(is_block(block, "week") for block in blocks)
    assert unfold(fold(blocks)) == tuple(blocks)


def test_consecutive_blocks_with_equal_values_share_a_row() -> None:
    values = {"2024-02-28": "a", "2024-02-29": "a", "2024-03-01": "b", "2024-03-03": "b"}
    assert fold_equal(values) == [("2024-02-28..2024-02-29", "a"), ("2024-03-01", "b"), ("2024-03-03", "b")]


def test_what_looks_like_a_block_is_told_from_what_does_not() -> None:
    assert is_block("2024-02-29", "day")
    assert not is_block("2023-02-29", "day")
    assert not is_block("2023-W53", "week")
    assert is_block("2020-W53", "week")
    assert not is_block("2023..2024", "span")  # would read as a range
    assert kind_of("the year 2023") == "span"


def test_a_range_may_be_open_at_either_end() -> None:
    assert within("2023-01-05", None)
    assert within("2023-01-05", "2023-01-05")
    assert within("2023-01-05", "..2023-01-05")
    assert within("2023-01-05", "2023-01-05..")
    assert not within("2023-01-05", "2023-01-06..")
    assert not within("2023-01-05", "2023-01-04")


@pytest.mark.parametrize(("name", "kind"), [("２０２３-W01", "week"), ("2023-W０1", "week"), ("2023-01-0５", "day")])
def test_a_block_has_one_spelling(name: str, kind: str) -> None:
    """A second one would be a second budget for the same days."""
    assert not is_block(name, kind)


@pytest.mark.parametrize("typed", ["2023-13-45", "2023-01-01..2023-02-30", "2023-W54", "..", "2023-01"])
def test_a_range_of_days_that_there_are_not_is_told(typed: str) -> None:
    assert not is_range(typed)


@pytest.mark.parametrize("typed", ["2023-01-05", "2023-01-05..", "..2023-W02", "2023", "the year 2023"])
def test_a_range_of_blocks_is_taken(typed: str) -> None:
    assert is_range(typed)
