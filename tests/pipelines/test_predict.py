from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.errors import DataError
from pipelines.experiment import load_champion
from pipelines.predict import Predictor


@pytest.fixture(scope="module")
def predictor(tiny: Any) -> Predictor:
    return load_champion("tiny")[0]


def observed(*rows: tuple[str, str, float | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"unique_id": pl.String, "ds": pl.String, "y": pl.Float64}, orient="row")


def test_the_repeated_hour_is_two_steps(predictor):
    rows = observed(("west", "2024-10-27T02:00+02:00", 1.0), ("west", "2024-10-27T02:00+01:00", 2.0))
    values, mask, cutoff = predictor.window(fresh=rows)
    assert values[-2:, 2, 0].tolist() == [1.0, 2.0]
    assert mask.sum() == 2
    assert cutoff.isoformat() == "2024-10-27T02:00:00+01:00"
    after = predictor.forecast(rows)["ds"].dt.convert_time_zone("UTC")
    assert str(after[0]) == "2024-10-27 02:00:00+00:00"


def test_observations_older_than_the_window_change_nothing(predictor, tiny):
    panel = tiny.dataset.panel
    old = observed(("east", panel.index[-25].isoformat(), 99.0))
    values, mask, cutoff = predictor.window(history=panel, fresh=old)
    assert cutoff == panel.index[-1]
    assert np.array_equal(values, panel.values[-24:], equal_nan=True)
    assert np.array_equal(mask, panel.mask[-24:])


def test_fresh_data_far_ahead_leaves_the_gap_unobserved(predictor, tiny):
    values, mask, _ = predictor.window(history=tiny.dataset.panel, fresh=observed(("east", "2024-06-01T12:00", 9.0)))
    assert mask.sum() == 1
    assert values[-1, 0, 0] == 9.0


def test_a_window_without_any_observation_is_refused(predictor):
    with pytest.raises(DataError, match="no observation in the window"):
        predictor.forecast(observed(("east", "2024-06-01T12:00", None)))


def test_a_data_set_that_no_longer_fits_says_why(predictor, tiny):
    panel = tiny.dataset.panel
    with pytest.raises(DataError, match="no longer has steps of 1h in Europe/Oslo"):
        predictor.forecast_panel(replace(panel, index=panel.index.tz_convert("Europe/Paris")))
    with pytest.raises(DataError, match="node 'west' is not among the 2 of the panel; train anew"):
        predictor.forecast_panel(panel.choose(["east", "north"], ["y"]))
