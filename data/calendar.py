"""What the clock on the wall says at each step: the covariates that are known for the future too."""

import holidays
import numpy as np
import pandas as pd

COLUMNS = ("time_of_day", "day_of_week", "holiday")


def calendar(index: pd.DatetimeIndex, country: str | None = None) -> np.ndarray:
    """The calendar `[T, 3]` of `index` in its own time zone: share of the day gone, weekday (Monday is 0), holiday.

    `country` is an ISO 3166 code, with a subdivision after a dash where there is one: `FR`, `US-NY`. Without it no day
    is a holiday. Raises ValueError for a code without a holiday calendar.
    """
    midnight_seconds = index.hour * 3600 + index.minute * 60 + index.second
    columns = midnight_seconds / 86400, index.day_of_week, _is_holiday(index, country)
    return np.stack([np.asarray(column, dtype=np.float32) for column in columns], axis=-1)


def _is_holiday(index: pd.DatetimeIndex, country: str | None) -> np.ndarray:
    if country is None:
        return np.zeros(len(index), dtype=bool)
    code, _, subdivision = country.partition("-")
    years = range(index[0].year, index[-1].year + 1)
    try:
        days = holidays.country_holidays(code, subdiv=subdivision or None, years=years)
    except NotImplementedError:
        raise ValueError(
            f"no holiday calendar is known for {country!r}; use an ISO 3166 code such as FR or US-NY"
        ) from None
    return np.array([day in days for day in index.date], dtype=bool)
