"""What goes in and out over HTTP: the bodies of `POST /v1/forecasts` and `GET /v1/models`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from data.errors import DataError
from pipelines.predict import QUANTILES

Text = Annotated[str, Field(min_length=1, max_length=250)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Observation(BaseModel):
    """One node at one time. Every other key is a variable of the model; null: not observed."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Number | None] = Field(init=False)

    unique_id: Text
    ds: Text = Field(description="ISO 8601; local in the model's time zone where it has no offset")

    @property
    def readings(self) -> dict[str, float | None]:
        return self.__pydantic_extra__


class ForecastRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"data_set": "oslo-bikes", "horizon": 6, "quantiles": [0.05, 0.5, 0.95]}]},
    )

    data_set: Text = Field(description="the registered model's name")
    observations: Annotated[list[Observation], Field(min_length=1, fail_fast=True)] | None = Field(
        None, description="rows that win over the stored data set and may go on after its end"
    )
    nodes: Annotated[list[Text], Field(min_length=1, fail_fast=True)] | None = Field(None, description="all by default")
    horizon: int | None = Field(None, description="steps ahead; all that the model can by default")
    quantiles: Annotated[list[Number], Field(max_length=99)] = Field(list(QUANTILES), description="may be empty")
    raw_input: bool = Field(
        False,
        strict=True,
        description="of a private model that forecasts from released counts: the observations are known to be raw; "
        "without it they are refused, with it the answer is marked and logged",
    )

    def fresh(self, variables: Sequence[str]) -> pl.DataFrame | None:
        """The observations as a frame: unique_id, ds, and those of the model's `variables` that some row names.

        Raises DataError for a key that is none of them.
        """
        if self.observations is None:
            return None
        named = dict.fromkeys(name for row in self.observations for name in row.readings)
        unread = next((name for name in named if name not in variables), None)
        if unread is not None:
            raise DataError(f"observations have the key {unread!r}; known are unique_id, ds, {', '.join(variables)}")
        schema = {"unique_id": pl.String, "ds": pl.String} | dict.fromkeys(named, pl.Float64)
        rows = [(row.unique_id, row.ds, *map(row.readings.get, named)) for row in self.observations]
        return pl.DataFrame(rows, schema=schema, orient="row")


class ForecastRow(BaseModel):
    unique_id: str
    ds: str
    variable: str
    lead_time: int = Field(description="steps after the cutoff")
    forecast: float
    quantiles: dict[str, float]


class PrivacyMark(BaseModel):
    """What the forecast of a private model tells of today's people."""

    input: Literal["released", "raw"]
    mark: str
    exportable: bool = Field(description="whether the forecast may be published, cached, passed on")
    claim: str = Field(description="what is promised of the model's training")


class ForecastAnswer(BaseModel):
    data_set: str
    model: str = Field(description="the kind of model: gru, stid, ...")
    version: str
    alias: Literal["champion"] = "champion"
    data_set_version: str | None = Field(description="of the stored data that was read; null: the observations alone")
    cutoff: str = Field(description="the last step known to the forecast")
    interval: str
    timezone: str
    privacy: PrivacyMark | None = Field(None, description="null: no privacy promise is made of this model")
    forecasts: list[ForecastRow]


class ModelVersion(BaseModel):
    """One version of one registered model."""

    name: str
    version: str
    aliases: list[str]
    model: str
    mae: float | None = Field(
        description="of its backtest; comparable only within one data set version. Withheld (null) where it was "
        "computed on the raw counts that a private model is to protect"
    )
    privacy: str | None = Field(None, description="whom it protects and how far; null: no promise is made")
    data_set_version: str
    created: datetime


class ModelList(BaseModel):
    models: list[ModelVersion]


class Readiness(BaseModel):
    status: Literal["ready"] = "ready"
    champions: dict[str, str] = Field(description="registered name to the version that is loaded")


class Problem(BaseModel):
    code: str
    message: str


class Failure(BaseModel):
    """Every answer that is no success has this shape."""

    error: Problem
