"""What was made from other bundled data is what they make."""

import polars as pl
from polars.testing import assert_frame_equal

from data.bundled import HERE

JHU = HERE / "jhu_covid"
DAYS, TRAINING_DAYS = 120, 92


def by_country(name: str) -> pl.DataFrame:
    """The running totals of each country and day; `place` columns are `country` or `country/province`."""
    wide = pl.read_parquet(JHU / f"{name}.parquet").sort("date").head(DAYS)
    places = wide.unpivot(index="date", variable_name="place", value_name=name)
    country = pl.col("place").str.split("/").list.first().alias("unique_id")
    return places.group_by(country, ds=pl.col("date").dt.date(), maintain_order=True).agg(pl.col(name).sum())


def test_the_first_120_days_are_those_of_the_wide_tables_by_country() -> None:
    confirmed, deaths, recovered = (by_country(name) for name in ("confirmed", "deaths", "recovered"))
    together = confirmed.join(deaths, on=["unique_id", "ds"], maintain_order="left").join(
        recovered, on=["unique_id", "ds"], maintain_order="left"
    )
    begun = (pl.col("confirmed").head(TRAINING_DAYS) > 0).any().over("unique_id")
    made = together.filter(begun).with_columns(pl.col("confirmed", "deaths", "recovered").cast(pl.Int32))
    assert made["unique_id"].n_unique() == 183
    assert_frame_equal(pl.read_parquet(JHU / "first_120_days.parquet"), made)
