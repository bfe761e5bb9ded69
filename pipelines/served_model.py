"""What MLflow runs to serve a version: `mlflow.pyfunc.load_model`, `mlflow models serve`.

MLflow keeps a copy of this file beside the artefact (models-from-code) and runs it where flockcast is installed.
"""

from typing import Any

import mlflow
import pandas as pd
import polars as pl
from mlflow.pyfunc import PythonModel, PythonModelContext

from pipelines.predict import QUANTILES, Predictor
from pipelines.privacy.access import Access, log_access, user
from pipelines.privacy.serving import mark_of


class ServedForecaster(PythonModel):
    """A frame of observations (unique_id, ds, variables) in, a frame of forecasts in long format out.

    Of a private model the observations count as raw: the call needs the parameter `raw_input`, the access is logged,
    and the forecasts have a column `mark`.
    """

    def load_context(self, context: PythonModelContext) -> None:
        from pathlib import Path

        self.predictor = Predictor.load(Path(context.artifacts["forecaster"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        given = params or {}
        observations = pl.from_pandas(model_input)
        name = self.predictor.config.name
        raw_input = bool(given.get("raw_input", False))
        mark = mark_of(
            self.predictor.protection,
            stored=None,
            sent=True,
            raw_input=raw_input,
            name=name,
            is_internal=self.predictor.config.is_internal,
        )
        forecast = self.predictor.forecast(
            observations,
            horizon=int(given["horizon"]) if given.get("horizon", 0) > 0 else None,
            quantiles=list(given.get("quantiles", QUANTILES)),
        )
        if mark is not None:
            _, _, cutoff = self.predictor.window(fresh=observations)
            log_access(Access(user(), "mlflow", name, "", cutoff.isoformat(), mark.text))
            forecast = forecast.with_columns(mark=pl.lit(mark.text))
        # JSON has no time-zone aware times; the text keeps the offset
        return forecast.with_columns(pl.col("ds").dt.strftime("%Y-%m-%dT%H:%M:%S%:z")).to_pandas()


mlflow.models.set_model(ServedForecaster())
