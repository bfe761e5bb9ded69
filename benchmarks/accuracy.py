"""The four recurrent networks on the bundled data, beside every yardstick and, for Paris, the paper's own figures.

    .venv/bin/python benchmarks/accuracy.py paris-counts nyc-green --seeds 3

Prints Markdown. Nothing is tuned on the test range: early stopping and intervals see validation alone.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean, stdev

import polars as pl

from pipelines.evaluate import backtest
from pipelines.ingest import ingest
from pipelines.prepare import prepare
from pipelines.results import Backtest
from pipelines.spec import Spec, load_spec

NETWORKS = ("lstm", "gru", "bilstm", "bigru")
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
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.specs:
            print(table(load_spec(name), chosen.seeds, Path(folder)), flush=True)


def table(spec: Spec, seeds: int, folder: Path) -> str:
    """One row a model: figures of each network over the seeds, of each yardstick once."""
    dataset = ingest(spec, say=lambda line: None)
    prepared = prepare(spec, dataset)
    rows: dict[str, list[dict[str, float]]] = {}
    for name in NETWORKS:
        for seed in range(seeds):
            run = variant(spec, name, seed, yardsticks=name == NETWORKS[-1] and seed == seeds - 1)
            result = backtest(run, prepared, folder=folder, say=lambda line: None).backtest
            for model in result.forecasts:
                rows.setdefault(model, []).append(figures(result, model))
    lines = [
        f"### {spec.name}",
        "",
        result.protocol,
        "",
        "| model | mean RMSE over series | MAE | against best seasonal naive | 90 % intervals: split / adaptive |"
        + paper_head(spec),
        f"| --- | ---: | ---: | ---: | ---: |{' ---: | ---: |' if paper_head(spec) else ''}",
    ]
    best_seasonal = min(r[0]["mae"] for name, r in rows.items() if name.startswith("seasonal"))
    for model, found in sorted(rows.items(), key=lambda row: mean(r["mae"] for r in row[1])):
        lines.append(row(model, found, best_seasonal, with_paper=bool(paper_head(spec))))
    return "\n".join(lines) + "\n"


def variant(spec: Spec, name: str, seed: int, *, yardsticks: bool) -> Spec:
    evaluation = spec.evaluation if yardsticks else spec.evaluation.model_copy(update={"baselines": []})
    return spec.model_copy(
        update={
            "model": spec.model.model_copy(update={"name": name}),
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
