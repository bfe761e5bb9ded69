"""The records that steps hand to each other: what was measured, what was forecast."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import polars as pl

from pipelines.privacy.serving import Mark

Alias = Literal["champion", "challenger"]


@dataclass(frozen=True)
class Intervals:
    """Prediction intervals over a backtest, and how often they held the truth."""

    method: str  # "split" or "adaptive"
    level: float
    lower: np.ndarray  # [C, H, N, F]
    upper: np.ndarray  # [C, H, N, F]
    coverage: float  # share of observed test values inside
    coverage_by_horizon: np.ndarray  # [H]
    mean_width: float


@dataclass(frozen=True)
class Backtest:
    """Every forecast of every model at every cutoff of the test range, on the original scale.

    `scores` has the columns model, horizon (0 is the total, h the h-th step), variable ("all" or a name), mae, rmse,
    node_rmse, mape, smape, mase, msle (NaN where the values are no counts), cpc (NaN where they are no flows), count.
    Figures of a `leaky` model can't be compared with those of a forecast. Of flows, "all" is every pair, and the other
    variables are outflow and inflow of the nodes, summed over their pairs.
    """

    protocol: str
    model: str  # ours, a key of `forecasts`
    cutoffs: pd.DatetimeIndex  # [C], the last step known to each forecast
    interval: str
    nodes: tuple[str, ...]
    variables: tuple[str, ...]
    truth: np.ndarray  # [C, H, N, F]
    mask: np.ndarray  # [C, H, N, F]
    forecasts: dict[str, np.ndarray]  # model -> [C, H, N, F]; ours first, then the yardsticks
    scores: pl.DataFrame
    intervals: dict[str, Intervals]  # method -> intervals of our model
    served: str  # the method that the registered model uses
    leaky: bool = False  # whether our model has seen the test range in training
    are_flows: bool = False  # from node to variable, which are the same zones

    def total(self, model: str, metric: str, variable: str = "all") -> float:
        row = self.scores.filter(
            (pl.col("model") == model) & (pl.col("horizon") == 0) & (pl.col("variable") == variable)
        )
        return float(row[metric][0])


@dataclass(frozen=True)
class Forecast:
    """One forecast from the newest observations.

    `frame` is in long format: unique_id, ds (time-zone aware), variable, lead_time (steps), forecast, then one column
    per quantile, named q05, q50, q95, and so on. That of a private model is marked.
    """

    model: str
    version: str | None
    cutoff: pd.Timestamp
    frame: pl.DataFrame
    mark: Mark | None = None

    @property
    def known_until(self) -> str:
        """The cutoff as text."""
        return self.cutoff.isoformat()


@dataclass(frozen=True)
class History:
    """The course of training: one row an epoch: epoch, train_loss, validation_loss, learning_rate, seconds.

    A private training tells no loss, NaN; its rows are some steps each, of which the last has the weights.
    """

    epochs: pl.DataFrame
    best_epoch: int
    device: str
    parameters: int

    @property
    def has_losses(self) -> bool:
        return not self.epochs["train_loss"].is_nan().all()


@dataclass(frozen=True)
class Explanation:
    """What a network with a learned graph made of its variables, epoch by epoch.

    Entry [k, b, c] is how much variable b takes of variable c after epoch k, with its sign. `through` is both layers
    one after the other at the best epoch: a lead and its follower stand out there; its sign has no plain meaning.
    """

    variables: tuple[str, ...]  # [V]
    source: np.ndarray  # [K, V, V]
    target: np.ndarray  # [K, V, V]
    best_epoch: int

    @property
    def through(self) -> np.ndarray:
        return self.target[self.best_epoch] @ self.source[self.best_epoch]

    def course(self, variable: int, reads: int) -> np.ndarray:
        """What `variable` took of `reads` through both layers after each epoch, [K]."""
        return np.einsum("kv,kv->k", self.target[:, variable], self.source[:, :, reads])


@dataclass(frozen=True)
class WeightCourse:
    """The norms [L, 1 + K] of weights that evolve, called `names`: at the start, then after each of K steps."""

    names: tuple[str, ...]
    norms: np.ndarray


@dataclass(frozen=True)
class Registered:
    """The version that a run put into the registry. `reason` is the sentence why it became champion, or did not."""

    name: str
    version: str
    alias: Alias
    run_id: str
    tracking_uri: str
    reason: str
