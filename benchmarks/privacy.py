"""What private releases cost a forecaster, on the counts of Paris and beside the paper's figures.

    .venv/bin/python benchmarks/privacy.py --seeds 3

Prints Markdown. Training, validation and the windows of the test see noisy counts alone, as the ingest step releases
them; the forecasts are scored on the raw test values, which nobody who has only the release could do. This path is of
the benchmark alone: it spends nothing, and publishes errors on raw values of data that are public anyway. Each seed
has a draw of noise of its own, which no seed fixes.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from data.dataset import DataSet, Manifest
from data.store import content_hash
from pipelines.evaluate import backtest, mase_unit
from pipelines.metrics import score
from pipelines.prepare import prepare
from pipelines.privacy import accounting
from pipelines.privacy.calibration import gaussian_scale
from pipelines.privacy.claim import rounded_up
from pipelines.privacy.mechanisms import GaussianRelease
from pipelines.privacy.release.counting import count
from pipelines.privacy.release.domain import Domain, domain_of
from pipelines.privacy.release.drawing import assembled, noisy
from pipelines.sources import sources_of
from pipelines.spec import RecurrentModel, Spec, StidModel, load_spec

DELTA = 1e-6
DAY, SPAN = 48, 72 * 48  # steps of a person's day, and of the 72 days that the file has
PAPER_DELTA = 1e-7
# Arcolezi et al. 2022 (arXiv:2205.00436), tables 3 and 5: BiGRU, mean RMSE and MAE over regions, tuned on the test
PAPER = {0.0650: (1235.6, 918.7), 0.0399: (1221.8, 915.9), 0.0357: (1232.9, 923.3), 0.0317: (1248.4, 940.2)}
PAPER_NONE = (1214.3, 907.1)
NETWORKS = {
    "stid": StidModel(name="stid"),
    "gru": RecurrentModel(name="gru", hidden=64, dropout=0.0, profile=0),
}
YARDSTICKS = ("ridge", "naive", "seasonal_naive_day")


@dataclass(frozen=True)
class Case:
    """One row: noise of this scale on every count, and what that promises."""

    name: str
    scale: float | None
    paper: tuple[float, float] | None = None

    @property
    def promise(self) -> str:
        """Of a person's day and of a person over all the days, one area at a time."""
        if self.scale is None:
            return "nothing"
        day, span = (self._epsilon(steps) for steps in (DAY, SPAN))
        return f"day {rounded_up(day)}, all days {rounded_up(span)}"

    def _epsilon(self, steps: int) -> float:
        assert self.scale is not None
        return accounting.epsilon([GaussianRelease(math.sqrt(steps), self.scale)], delta=DELTA)


def cases() -> list[Case]:
    released = [("a person's day", DAY), ("a person's day, areas nested", 2 * DAY), ("a person, all days", SPAN)]
    ours = [
        Case(f"{name}, ε = 1", gaussian_scale(sensitivity=math.sqrt(steps), epsilon=1.0, delta=DELTA))
        for name, steps in released
    ]
    theirs = [
        Case(f"paper's input perturbation, ε = {epsilon:.4f} a value", classic(epsilon), figures)
        for epsilon, figures in PAPER.items()
    ]
    return [Case("none", None, PAPER_NONE), *ours, *theirs]


def classic(epsilon: float) -> float:
    """The paper's scale: the classic Gaussian mechanism, sensitivity 1 for each value."""
    return math.sqrt(2 * math.log(1.25 / PAPER_DELTA)) / epsilon


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    chosen = parser.parse_args()
    spec = load_spec("paris-private")
    assert isinstance(spec, Spec)
    domain = domain_of(spec, spec.privacy)
    truth = count(domain, sources_of(spec), np.ones(len(domain.index), dtype=bool))
    for line in table(spec, domain, truth, chosen.networks, chosen.seeds):
        print(line, flush=True)


def table(spec: Spec, domain: Domain, truth: np.ndarray, networks: list[str], seeds: int) -> Iterator[str]:
    """One row a case and model, against the same model without noise."""
    yield "| noise | std | promises ε (δ = 1e-6) | model | mean RMSE | MAE | against no privacy | paper's RMSE, MAE |"
    yield "| --- | ---: | --- | --- | ---: | ---: | ---: | ---: |"
    plain: dict[str, float] = {}
    for case in cases():
        rows: dict[str, list[tuple[float, float]]] = {}
        for seed in range(seeds):
            for model, figures in measured(spec, domain, truth, case, networks, seed).items():
                rows.setdefault(model, []).append(figures)
        for model, found in rows.items():
            rmse = mean(figures[0] for figures in found)
            plain.setdefault(model, rmse)
            yield row(case, model, found, rmse / plain[model] - 1)


def measured(
    spec: Spec, domain: Domain, truth: np.ndarray, case: Case, networks: list[str], seed: int
) -> dict[str, tuple[float, float]]:
    """Model -> (mean RMSE over series, MAE) on raw values; every network sees the same draw."""
    dataset = drawn(domain, truth, case)
    found = {}
    for position, name in enumerate(networks):
        run = spec.model_copy(
            update={
                "model": NETWORKS[name],
                "training": spec.training.model_copy(update={"seed": seed}),
                "evaluation": spec.evaluation.model_copy(update={"baselines": [] if position else list(YARDSTICKS)}),
            }
        )
        found |= on_raw_values(run, dataset, truth)
    return found


def drawn(domain: Domain, truth: np.ndarray, case: Case) -> DataSet:
    if case.scale is None:
        cells = np.where(domain.mask, truth.astype(float), np.nan)
    else:
        cells = noisy(truth, domain.mask, GaussianRelease(1.0, case.scale))
    panel, flows = assembled(cells, domain)
    return DataSet(panel, flows, _manifest(domain, content_hash(panel, flows)))


def on_raw_values(spec: Spec, dataset: DataSet, truth: np.ndarray) -> dict[str, tuple[float, float]]:
    prepared = prepare(spec, dataset)
    with tempfile.TemporaryDirectory() as folder:
        result = backtest(spec, prepared, folder=Path(folder), say=lambda line: None).backtest
    at = prepared.panel.index.get_indexer(result.cutoffs)
    raw = truth[at[:, None] + 1 + np.arange(result.truth.shape[1])].astype(float)  # [C, H, N, F]
    scores = score(
        result.forecasts,
        raw,
        result.mask,
        variables=prepared.panel.variables,
        unit=mase_unit(prepared),
        is_count=True,
    )
    totals = scores.filter(horizon=0, variable="all")
    return {found["model"]: (found["node_rmse"], found["mae"]) for found in totals.iter_rows(named=True)}


def _manifest(domain: Domain, version: str) -> Manifest:
    data = domain.spec.data
    return Manifest(
        name=domain.spec.name,
        version=version,
        sources={},
        rows_read=0,
        rows_used=0,
        rejected={},
        notes={},
        source_columns={},
        span=(domain.index[0].isoformat(), domain.index[-1].isoformat()),
        interval=data.interval,
        timezone=data.timezone,
        nodes=len(domain.nodes),
        variables=list(domain.variables),
        observed_share=float(domain.mask.mean()),
        origin=data.origin,
        licence=data.licence,
        recipe="benchmark",
    )


def row(case: Case, model: str, found: list[tuple[float, float]], against: float) -> str:
    rmse, mae = (spread([figures[i] for figures in found]) for i in range(2))
    std = "0" if case.scale is None else f"{case.scale:.1f}"
    paper = f"{case.paper[0]}, {case.paper[1]}" if case.paper and model in NETWORKS else ""
    change = "" if case.scale is None else f"{against:+.1%}"
    return f"| {case.name} | {std} | {case.promise} | {model} | {rmse} | {mae} | {change} | {paper} |"


def spread(values: list[float]) -> str:
    around = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{around}"


if __name__ == "__main__":
    main()
