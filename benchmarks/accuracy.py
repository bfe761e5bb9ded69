"""The networks on the bundled data, beside every yardstick and, for Paris, the paper's own figures.

    .venv/bin/python benchmarks/accuracy.py paris-counts nyc-green --seeds 3

Prints Markdown. Nothing is tuned on the test range: early stopping and intervals see validation alone. The recurrent
networks take the rest of their table from the spec, ReGENN its defaults; all share the spec's training table.
"""

import argparse
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import polars as pl

from pipelines.evaluate import backtest
from pipelines.ingest import ingest
from pipelines.prepare import prepare
from pipelines.results import Backtest
from pipelines.spec import Model, RegennModel, Spec, load_spec

REGENN: dict[str, Model] = {
    "regenn": RegennModel(name="regenn"),
    "regenn (value)": RegennModel(name="regenn", predict="value"),  # where `predict = "auto"` takes the change
}
NETWORKS = ("lstm", "gru", "bilstm", "bigru", *REGENN)
# Arcolezi et al. 2022 (arXiv:2205.00436), table 3: mean over regions of RMSE and MAE, tuned on the test range
PAPER = {
    "naive": (1503.6, 1107.1),
    "lstm": (1254.2, 943.8),
    "bilstm": (1241.6, 931.7),
    "gru": (1241.1, 929.6),
    "bigru": (1214.3, 907.1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="*", default=["paris-counts", "nyc-green"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.specs:
            print(table(load_spec(name), chosen.networks, chosen.seeds, Path(folder)), flush=True)


def table(spec: Spec, names: Sequence[str], seeds: int, folder: Path) -> str:
    """One row a model: figures of each network over the seeds, of each yardstick once."""
    prepared = prepare(spec, ingest(spec, say=lambda line: None))
    networks = [name for name in names if name != "regenn (value)" or prepared.shape.predict == "change"]
    rows: dict[str, list[dict[str, float]]] = {}
    losses: dict[str, list[float]] = {}
    for name, seed in product(networks, range(seeds)):
        run = variant(spec, name, seed, yardsticks=(name, seed) == (networks[-1], seeds - 1))
        evaluated = backtest(run, prepared, folder=folder, say=lambda line: None)
        result = evaluated.backtest
        losses.setdefault(name, []).append(evaluated.fitted.history.epochs["validation_loss"].min())
        for model in result.forecasts:
            rows.setdefault(name if model == result.model else model, []).append(figures(result, model))
    return "\n".join([*head_lines(spec, result.protocol), *row_lines(spec, rows), "", *loss_lines(losses)])


def head_lines(spec: Spec, protocol: str) -> list[str]:
    return [
        f"### {spec.name}",
        "",
        protocol,
        "",
        "| model | mean RMSE over series | MAE | against best seasonal naive | 90 % intervals: split / adaptive |"
        + paper_head(spec),
        f"| --- | ---: | ---: | ---: | ---: |{' ---: | ---: |' if paper_head(spec) else ''}",
    ]


def row_lines(spec: Spec, rows: dict[str, list[dict[str, float]]]) -> list[str]:
    best_seasonal = min(r[0]["mae"] for name, r in rows.items() if name.startswith("seasonal"))
    return [
        row(model, found, best_seasonal, with_paper=bool(paper_head(spec)))
        for model, found in sorted(rows.items(), key=lambda row: mean(r["mae"] for r in row[1]))
    ]


def loss_lines(losses: dict[str, list[float]]) -> list[str]:
    """What a form of a network would be chosen by: it has not seen the test range."""
    each = ", ".join(f"{name} {spread(found)}" for name, found in losses.items())
    return [f"Lowest validation loss (MAE in each series' own spread): {each}", ""]


def variant(spec: Spec, name: str, seed: int, *, yardsticks: bool) -> Spec:
    evaluation = spec.evaluation if yardsticks else spec.evaluation.model_copy(update={"baselines": []})
    return spec.model_copy(
        update={
            "model": REGENN.get(name) or spec.model.model_copy(update={"name": name}),
            "training": spec.training.model_copy(update={"seed": seed}),
            "evaluation": evaluation,
        }
    )


def figures(result: Backtest, model: str) -> dict[str, float]:
    total = result.scores.filter((pl.col("model") == model) & (pl.col("horizon") == 0) & (pl.col("variable") == "all"))
    held = {name: found.coverage for name, found in result.intervals.items()} if model == result.model else {}
    return {"mae": total["mae"][0], "node_rmse": total["node_rmse"][0], **held}


def row(model: str, found: list[dict[str, float]], best_seasonal: float, *, with_paper: bool) -> str:
    rmse, mae = (spread([r[key] for r in found]) for key in ("node_rmse", "mae"))
    against = mean(r["mae"] for r in found) / best_seasonal - 1
    held = " / ".join(f"{mean(r[m] for r in found):.1%}" for m in ("split", "adaptive")) if "split" in found[0] else ""
    line = f"| {model} | {rmse} | {mae} | {against:+.1%} | {held} |"
    if not with_paper:
        return line
    if model not in PAPER:
        return f"{line} | |"
    theirs = PAPER[model][0]
    return f"{line} {theirs} | {mean(r['node_rmse'] for r in found) / theirs - 1:+.1%} |"


def paper_head(spec: Spec) -> str:
    return " paper's RMSE | ours against it |" if spec.name == "paris-counts" else ""


def spread(values: list[float]) -> str:
    around = f" ± {stdev(values):.3g}" if len(values) > 1 else ""
    return f"{mean(values):.4g}{around}" if mean(values) < 1000 else f"{mean(values):.1f}{around}"


if __name__ == "__main__":
    main()
