"""Private training on the Paris-region counts, beside the figures that it must be no worse than.

    .venv/bin/python benchmarks/dp_sgd.py

Prints Markdown: RMSE and MAE, means over the six regions, of the last 7 days for GRU-64 trained by DP-SGD on the first
65. Forecasts are one step ahead from the raw counts before it. The scale is public: round figures of the size of each
region. Noise comes from the operating system, so no two runs are the same; the ledger is one of a scratch folder.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np

from data.splits import Ranges
from pipelines.evaluate import forecast_at, targets_at
from pipelines.ingest import ingest
from pipelines.prepare import Prepared, prepare
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.ledger.records import Policy
from pipelines.private_training import fit_privately
from pipelines.spec import Spec, load_spec, parse_spec

DAY, TEST_DAYS = 48, 7
# stride, noise multiplier, RMSE and MAE of a first trial with a loop of its own, two seeds
ROWS = ((1, 1.5, 1309.4, 963.6), (1, 4.0, 1338.9, 983.5), (1, 8.0, 1361.4, 1000.3))
REGIONS = (
    "Commune Montreuil",
    "IRIS 930480204",
    "IRIS 930480205",
    "IRIS 930480206",
    "IRIS 930480401",
    "IRIS 930480604",
)
LOCATION = (115_000, 14_000, 16_000, 12_000, 4_000, 12_000)
SPREAD = (20_000, 3_000, 4_000, 4_000, 1_500, 5_000)


def spec_of(noise: float, stride: int, seed: int) -> Spec:
    """The bundled data, with the settings of the specification's table."""
    given = load_spec("paris-counts")
    assert isinstance(given, Spec)
    data = given.data.model_dump(exclude_none=True, mode="json")
    scale = {
        name: dict(zip(REGIONS, values, strict=True)) for name, values in (("location", LOCATION), ("spread", SPREAD))
    }
    raw = {
        "name": "paris-dp-sgd",
        "data": data,
        "task": {"window": 6, "horizon": 1, "stride": stride, "split": {"validation": 1, "test": TEST_DAYS * DAY}},
        "model": {"name": "gru", "hidden": 64, "dropout": 0.0, "predict": "change", "profile": 0},
        "training": {"epochs": 40, "learning_rate": 3e-3, "seed": seed},
        "privacy": {
            "mechanism": "dp_sgd",
            "unit": "window",
            "epsilon": 100.0,
            "noise_multiplier": noise,
            "max_grad_norm": 0.1,
            "batch_size": 256,
            "public_scale": scale,
        },
    }
    return parse_spec(raw, folder=given.folder)


def errors(spec: Spec, prepared: Prepared, scratch: Path, ledger: Ledger) -> tuple[float, float, str]:
    """RMSE and MAE over the test days, and what the training promises."""
    end = prepared.ranges.end
    ranges = Ranges(end - TEST_DAYS * DAY, end - TEST_DAYS * DAY, end)
    made = fit_privately(spec, prepared, folder=scratch, ranges=ranges, ledger=ledger, say=lambda text: None)
    cutoffs = range(ranges.train_end - 1, end - 1)
    truth, mask = targets_at(prepared, cutoffs)
    forecast = np.maximum(forecast_at(made.network, prepared, cutoffs, window=prepared.shape.window), 0)
    miss = np.where(mask, forecast - truth, np.nan)[:, 0, :, 0]  # [C, N]
    assert made.protection is not None
    rmse, mae = np.sqrt(np.nanmean(miss**2, axis=0)).mean(), np.nanmean(np.abs(miss), axis=0).mean()
    return float(rmse), float(mae), made.protection.claim.sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    seeds = parser.parse_args().seeds
    print("| stride | noise | RMSE | MAE | no worse than | what is promised |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        ledger = Ledger(f"sqlite:///{scratch / 'ledger.db'}", for_tests=True)
        policy = Policy("default", "paris-dp-sgd", "window", epsilon=1000.0, delta=1e-6, order=2.0)
        ledger.grant(policy, actor="benchmark", reason="a benchmark", approver="nobody")
        dataset = ingest(spec_of(1.0, 1, 0), say=lambda text: None)
        for stride, noise, rmse, mae in ROWS:
            specs = [spec_of(noise, stride, seed) for seed in range(seeds)]
            found = [errors(spec, prepare(spec, dataset), scratch, ledger) for spec in specs]
            figures = " | ".join(f"{mean(each[part] for each in found):,.1f}" for part in (0, 1))
            print(f"| {stride} | {noise} | {figures} | {rmse:,.1f}, {mae:,.1f} | {found[0][2]} |", flush=True)


if __name__ == "__main__":
    main()
