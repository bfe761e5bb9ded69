"""What the benchmarks of forecasts on graphs measure of a backtest, and how they write it."""

import time
from pathlib import Path
from statistics import mean, stdev

from data.dataset import DataSet
from pipelines.evaluate import backtest
from pipelines.prepare import prepare
from pipelines.results import Backtest
from pipelines.spec import Spec


def measured(spec: Spec, dataset: DataSet, folder: Path) -> tuple[Backtest, dict[str, float]]:
    """The backtest, the best validation loss of its last fit, and what it cost."""
    began = time.process_time()
    found = backtest(spec, prepare(spec, dataset), folder=folder, say=lambda line: None)
    losses = found.fitted.history.epochs["validation_loss"].to_list()
    return found.backtest, {"validation": min(losses), "seconds": time.process_time() - began}


def figures(result: Backtest, model: str) -> dict[str, float]:
    return {metric: result.total(model, metric) for metric in ("mae", "rmse")}


def spread(found: list[dict[str, float]], key: str) -> str:
    values = [run[key] for run in found if key in run]
    if not values:
        return ""
    around = f" ± {stdev(values):.2g}" if len(values) > 1 and key != "seconds" else ""
    return f"{mean(values):.4g}{around}"
