"""Flows between zones a day ahead: EvolveGCN on the window's own network, on a frozen one, and beside yardsticks.

    .venv/bin/python benchmarks/flows.py --seeds 3

Prints Markdown. Nothing is tuned on the test range: early stopping sees validation alone. With `--folder` what was
trained is kept, and re-used by the next call.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev

from pipelines.evaluate import backtest
from pipelines.ingest import ingest
from pipelines.prepare import Prepared, prepare
from pipelines.results import Backtest
from pipelines.spec import Spec, load_spec

SPECS = ("nyc-taxi-flows", "nyc-green-flows")
VARIANTS = {  # what a table calls it -> what of the [model] table is set
    "-H": {},
    "-H, frozen graph": {"graph": "frozen"},
    "-O": {"variant": "O"},
}
COLUMNS = {
    "MAE": ("mae", "all"),
    "RMSE": ("rmse", "all"),
    "CPC": ("cpc", "all"),
    "outflow MAE": ("mae", "outflow"),
    "inflow MAE": ("mae", "inflow"),
}
Rows = dict[str, list[list[float]]]  # model -> seeds -> figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="*", default=list(SPECS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print("\n".join(tables(chosen.specs, chosen.seeds, chosen.folder or Path(scratch))))


def tables(names: list[str], seeds: int, folder: Path) -> list[str]:
    """Seed by seed through all data sets, so that what is there after a while is of all of them."""
    specs = [load_spec(name) for name in names]
    tasks = [prepare(spec, ingest(spec, say=_quiet)) for spec in specs]
    rows: dict[str, Rows] = {spec.name: {} for spec in specs}
    told: dict[str, str] = {}
    for seed in range(seeds):
        for spec, prepared in zip(specs, tasks, strict=True):
            for variant in VARIANTS:
                result = run(spec, prepared, variant, seed, folder)
                told[spec.name] = result.protocol
                for model in result.forecasts:
                    name = f"EvolveGCN {variant}" if model == result.model else model
                    rows[spec.name].setdefault(name, []).append(figures(result, model))
    return [line for spec in specs for line in table(spec.name, told[spec.name], rows[spec.name])]


def run(spec: Spec, prepared: Prepared, variant: str, seed: int, folder: Path) -> Backtest:
    """The yardsticks, which have no seed, stand beside the first run alone; `gcn` is "-O" here, which has seeds."""
    alone = seed > 0 or variant != next(iter(VARIANTS))
    baselines = [] if alone else [name for name in spec.evaluation.baselines if name != "gcn"]
    evaluation = spec.evaluation.model_copy(update={"baselines": baselines})
    changed = spec.model_copy(
        update={
            "model": spec.model.model_copy(update=VARIANTS[variant]),
            "training": spec.training.model_copy(update={"seed": seed}),
            "evaluation": evaluation,
        }
    )
    began = time.monotonic()
    evaluated = backtest(changed, prepared, folder=folder, say=_quiet)
    epochs = evaluated.fitted.history.epochs
    found = ", ".join(f"{value:.4g}" for value in figures(evaluated.backtest, evaluated.backtest.model))
    print(
        f"{spec.name} {variant} seed {seed}: {found}; {len(epochs)} epochs of {epochs['seconds'].mean():.1f} s, "
        f"best validation {epochs['validation_loss'].min():.4f}, {time.monotonic() - began:.0f} s in all",
        file=sys.stderr,
        flush=True,
    )
    return evaluated.backtest


def figures(result: Backtest, model: str) -> list[float]:
    return [result.total(model, metric, variable) for metric, variable in COLUMNS.values()]


def table(name: str, protocol: str, rows: Rows) -> list[str]:
    """One row a model, the smallest MAE first: mean and spread over the seeds."""
    order = sorted(rows.items(), key=lambda row: mean(seed[0] for seed in row[1]))
    return [
        f"### {name}",
        "",
        protocol,
        "",
        f"| model | {' | '.join(COLUMNS)} |",
        f"| --- |{' ---: |' * len(COLUMNS)}",
        *(f"| {model} | {' | '.join(map(spread, zip(*found, strict=True)))} |" for model, found in order),
        "",
    ]


def spread(values: tuple[float, ...]) -> str:
    around = f" ± {stdev(values):.2g}" if len(values) > 1 else ""
    return f"{mean(values):.4g}{around}"


def _quiet(line: str) -> None:
    pass


if __name__ == "__main__":
    main()
