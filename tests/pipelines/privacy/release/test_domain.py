"""The public domain follows from the spec alone, and periods are whole."""

import pandas as pd
import pytest

from pipelines.errors import SpecError
from pipelines.privacy.release.domain import domain_of
from pipelines.privacy.release.periods import most_steps, periods_of


def test_the_domain_needs_no_row_of_the_data(make, folder):
    (folder / "trips1.csv").unlink()
    spec = make()
    domain = domain_of(spec, spec.privacy)
    assert domain.mask.shape == (14 * 24, 4, 2)
    assert domain.nodes == ("a", "b", "c", "d")
    assert list(domain.revisions)[:2] == ["2024-03-04", "2024-03-05"]


def recipe(spec) -> str:
    return domain_of(spec, spec.privacy).recipe


@pytest.mark.parametrize(
    "data", [{"end": "2024-03-20"}, {"start": "2024-03-05"}, {"files": "elsewhere/*.csv"}, {"origin": "a city"}]
)
def test_where_the_rows_are_and_how_long_they_go_on_changes_no_recipe(make, data):
    assert recipe(make(data=data)) == recipe(make())


@pytest.mark.parametrize(
    ("data", "privacy"),
    [
        ({"interval": "30m"}, {}),
        ({"timezone": "Europe/Oslo"}, {}),
        ({}, {"epsilon": 1.0}),
        ({}, {"trips_per_unit": 5}),
        ({}, {"counts": "flows"}),
        ({}, {"data_set": "others"}),
    ],
)
def test_what_changes_a_count_or_its_noise_changes_the_recipe(make, data, privacy):
    assert recipe(make(data=data, privacy=privacy)) != recipe(make())


@pytest.mark.parametrize(
    ("data", "privacy", "message"),
    [
        ({"start": "2024-03-04 12:00"}, {}, "lies within a local day"),
        ({"end": "2024-03-17 23:00"}, {}, "data.end: .* lies within a local day"),
        ({"start": "2024-03-05"}, {"unit": "user_week"}, "lies within a week"),
        ({"interval": "7h"}, {}, "lies in more than one local day"),
        ({"interval": "1w"}, {}, "lies in more than one local day"),
        ({"interval": "6h", "timezone": "Europe/Oslo", "start": "2024-03-25", "end": "2024-04-08"}, {}, "2024-03-31"),
        ({"end": "2024-03-01"}, {}, "is not after data.start"),
        ({"interval": "1m", "end": "2034-03-04"}, {}, "at most 10,000,000"),
        ({}, {"revised": {"2024-05-05": 1}}, "'2024-05-05' is no period"),
    ],
)
def test_a_span_that_does_not_consist_of_whole_periods_is_refused(make, data, privacy, message):
    spec = make(data=data, privacy=privacy)
    with pytest.raises(SpecError, match=message):
        domain_of(spec, spec.privacy)


def test_weeks_and_spans_are_called_as_the_ledger_calls_them():
    index = pd.date_range("2020-12-31", periods=5, freq="1D", tz="Europe/Oslo")
    assert periods_of(index, unit="user_day", span=None)[0] == "2020-12-31"
    weeks = periods_of(index, unit="user_week", span=None).tolist()
    assert weeks == ["2020-W53"] * 4 + ["2021-W01"]
    assert set(periods_of(index, unit="user", span="winter")) == {"winter"}


def test_the_day_on_which_clocks_go_back_has_an_hour_more():
    index = pd.date_range("2024-10-26", periods=73, freq="1h", tz="Europe/Oslo")
    periods = periods_of(index, unit="user_day", span=None)
    assert most_steps(periods, pd.Series(1, index=range(73)).to_numpy()) == 25
