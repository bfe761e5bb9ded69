"""Forecasts on two real graphs, one model with each aggregation of a neighbourhood, and the yardsticks beside it.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/aggregators.py nyc-green
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/aggregators.py metr-la --folder FOLDER

Prints Markdown. New York's taxis are bundled; their graph is the mean flow between the zones over training. For METR-LA
the folder has `speed_week1_207sensors.parquet` (a column `time`, and one a sensor) and `adjacency_207.parquet` (a
column `from`, and one a sensor), made of the files that come with T-GCN and DCRNN; nobody says on what terms the
measurements may be passed on, so they are not bundled. All aggregations share the settings, and none is tuned.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any, get_args

import polars as pl
from backtested import figures, measured, spread

from models.aggregations import AggregationName
from pipelines.ingest import ingest
from pipelines.spec import GraphRecurrentModel, Spec, load_spec, parse_spec

KEYS = ("mae", "rmse", "validation", "seconds")
YARDSTICKS = ["naive", "seasonal_naive_day", "seasonal_naive_week", "historical_mean", "ridge"]
SMALL: dict[str, Any] = {"name": "graph-recurrent", "hidden": 32, "snapshots": 3, "profile": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", choices=["nyc-green", "metr-la"])
    parser.add_argument("--folder", type=Path, help="of METR-LA's files")
    parser.add_argument("--aggregations", nargs="*", default=get_args(AggregationName))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="15 on New York, 6 on Los Angeles, whose runs take longer")
    chosen = parser.parse_args()
    if chosen.graph == "metr-la" and chosen.folder is None:
        parser.error("METR-LA is not bundled; name the folder that has it: --folder FOLDER")
    with tempfile.TemporaryDirectory() as made:
        taxis = chosen.graph == "nyc-green"
        spec = new_york() if taxis else los_angeles(chosen.folder.resolve(), Path(made))
        epochs = chosen.epochs or (15 if taxis else 6)
        print(table(spec, chosen.aggregations, chosen.seeds, epochs, Path(made)))


def new_york() -> Spec:
    """The bundled task on the mean flows, which join nearly all of the 30 zones, with every fourth sample."""
    spec = load_spec("nyc-green")
    assert isinstance(spec, Spec)
    model = GraphRecurrentModel(graph="flows-mean", **SMALL)
    return spec.model_copy(
        update={
            "model": model,
            "task": spec.task.model_copy(update={"stride": 4}),
            "evaluation": spec.evaluation.model_copy(update={"baselines": YARDSTICKS, "stride": 2}),
        }
    )


def los_angeles(folder: Path, made: Path) -> Spec:
    """An hour ahead from an hour, by five minutes, with the split and the graph of DCRNN, on the first week alone."""
    adjacency = pl.read_parquet(folder / "adjacency_207.parquet")
    edges = adjacency.unpivot(index="from", variable_name="target", value_name="weight").rename({"from": "source"})
    edges.filter((pl.col("weight") > 0) & (pl.col("source") != pl.col("target"))).write_csv(made / "edges.csv")
    raw = {
        "name": "metr-la",
        "data": {
            "kind": "wide",
            "files": str(folder / "speed_week1_207sensors.parquet"),
            "interval": "5m",
            "timezone": "America/Los_Angeles",
            "variable": "speed",
        },
        "task": {"window": 12, "horizon": 12, "stride": 4, "split": {"validation": 0.1, "test": 0.2}},
        "model": {"graph": "given", "edges": str(made / "edges.csv"), **SMALL},
        "evaluation": {"baselines": YARDSTICKS, "stride": 2},
    }
    return parse_spec(raw, folder=folder)


def table(spec: Spec, aggregations: list[str], seeds: int, epochs: int, folder: Path) -> str:
    dataset = ingest(spec, say=lambda line: None)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        for name in aggregations:
            first = not rows
            result, cost = measured(variant(spec, name, seed, epochs, yardsticks=first), dataset, folder)
            if first:
                del cost["seconds"]  # the yardsticks' too
            rows.setdefault(name, []).append(figures(result, result.model) | cost)
            for other in set(result.forecasts) - {result.model}:
                rows[other] = [figures(result, other)]
    ordered = sorted(rows.items(), key=lambda found: mean(run["mae"] for run in found[1]))
    head = ["| aggregation | MAE | RMSE | validation loss | CPU seconds |", "| --- | ---: | ---: | ---: | ---: |"]
    body = [f"| {name} | {' | '.join(spread(found, key) for key in KEYS)} |" for name, found in ordered]
    return "\n".join([f"### {spec.name}", "", result.protocol, "", *head, *body, ""])


def variant(spec: Spec, aggregation: str, seed: int, epochs: int, *, yardsticks: bool) -> Spec:
    none = {} if yardsticks else {"baselines": []}
    training = {"seed": seed, "epochs": epochs, "patience": epochs, "batch_size": 8}
    return spec.model_copy(
        update={
            "model": spec.model.model_copy(update={"aggregation": aggregation}),
            "training": spec.training.model_copy(update=training),
            "evaluation": spec.evaluation.model_copy(update=none),
        }
    )


if __name__ == "__main__":
    main()
