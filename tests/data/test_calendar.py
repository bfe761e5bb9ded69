import pandas as pd
import pytest

from data.calendar import calendar


def test_the_clock_is_the_one_on_the_wall() -> None:
    """The hour that New York skipped on 12 March 2023 is skipped here too."""
    index = pd.date_range("2023-03-12 00:00", periods=4, freq="h", tz="America/New_York")
    time_of_day = calendar(index)[:, 0] * 24
    assert time_of_day.tolist() == [0, 1, 3, 4]


def test_weekdays_begin_with_monday() -> None:
    assert calendar(pd.date_range("2024-01-01", periods=7, freq="D", tz="UTC"))[:, 1].tolist() == list(range(7))


def test_holidays_are_those_of_the_country_and_its_part() -> None:
    index = pd.DatetimeIndex(["2023-07-14", "2023-01-16"], tz="UTC")
    assert calendar(index, "FR")[:, 2].tolist() == [1, 0]
    assert calendar(index, "US-NY")[:, 2].tolist() == [0, 1]
    assert calendar(index)[:, 2].tolist() == [0, 0]


def test_an_unknown_country_is_named() -> None:
    with pytest.raises(ValueError, match="'XX'"):
        calendar(pd.DatetimeIndex(["2023-07-14"], tz="UTC"), "XX")
