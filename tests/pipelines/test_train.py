import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from data.dataset import DataSet
from models.baselines import Naive
from pipelines import fingerprint
from pipelines.checkpoint import write_whole
from pipelines.errors import StoreError, TrainingError
from pipelines.evaluate import forecast_at, targets_at
from pipelines.prepare import Prepared, prepare
from pipelines.privacy.signal import signal_shares
from pipelines.spec import DLinearModel, Spec, StidModel, Training
from pipelines.train import Fitted, Run, batch_size, fit, new_network, training_key, training_scaler

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731


@pytest.fixture
def prepared(waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]) -> Prepared:
    return prepare(wave_spec(), waves())


def weights(fitted: Fitted) -> dict[str, torch.Tensor]:
    return dict(fitted.network.state_dict())


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def persistence_loss(prepared: Prepared) -> float:
    """The validation MAE of the last value, in standard deviations: what `validation_loss` is of a network."""
    ranges, horizon = prepared.ranges, prepared.shape.horizon
    cutoffs = range(ranges.train_end - 1, ranges.validation_end - horizon)
    truth, mask = targets_at(prepared, cutoffs)
    error = np.abs(forecast_at(Naive(horizon), prepared, cutoffs, window=prepared.shape.window) - truth)
    scaler = new_network(prepared, DLinearModel(name="dlinear"), ranges.train_end).scaler
    return float((error / scaler.std.numpy())[mask].mean())


@pytest.mark.parametrize("name", ["lstm", "gru", "bilstm", "bigru"])
def test_training_beats_persistence(
    name: str, prepared: Prepared, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    spec = wave_spec(model={"name": name, "hidden": 16}, training={"epochs": 15, "learning_rate": 0.01})
    fitted = fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET)
    losses = fitted.history.epochs["validation_loss"]
    assert losses.min() < 0.5 * persistence_loss(prepared)
    assert fitted.history.best_epoch == losses.arg_min()


@pytest.mark.parametrize("model", [DLinearModel(name="dlinear"), StidModel(name="stid", hidden=8)])
def test_the_trained_yardsticks_beat_persistence(
    model: DLinearModel | StidModel, prepared: Prepared, tmp_path: Path
) -> None:
    fitted = fit(prepared, model, Training(epochs=15, learning_rate=0.01), folder=tmp_path, say=QUIET)
    losses = fitted.history.epochs["validation_loss"]
    assert losses.min() < 0.8 * persistence_loss(prepared)


@pytest.mark.parametrize(("samples", "size"), [(40, 8), (320, 20), (5000, 64)])
def test_a_short_series_has_epochs_of_several_steps(samples: int, size: int) -> None:
    assert batch_size(Training(), samples) == size
    assert batch_size(Training(batch_size=100), samples) == 100


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    prepared: Prepared, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    spec, other = wave_spec(), wave_spec(training={"seed": 1})
    first, second = (fit(prepared, spec.model, spec.training, folder=tmp_path / place, say=QUIET) for place in "ab")
    third = fit(prepared, other.model, other.training, folder=tmp_path / "c", say=QUIET)
    assert equal(weights(first), weights(second))
    assert not equal(weights(first), weights(third))


def test_an_equal_run_is_reused_and_another_model_is_not(
    prepared: Prepared, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    spec, wider = wave_spec(), wave_spec(model={"hidden": 9})
    first = fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET)
    again = fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET)
    other = fit(prepared, wider.model, wider.training, folder=tmp_path, say=QUIET)
    assert (first.reused, again.reused, other.reused) == (False, True, False)
    assert equal(weights(first), weights(again))
    assert first.history.epochs.equals(again.history.epochs)


@pytest.mark.parametrize("name", ["weights.safetensors", "history.json"])
@pytest.mark.parametrize("left", [None, 0, 20])
def test_a_damaged_result_is_trained_anew(
    name: str, left: int | None, prepared: Prepared, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    """The file is gone, or cut after `left` bytes."""
    spec, told = wave_spec(training={"epochs": 1}), []
    first = fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET)
    damaged = next(tmp_path.glob(f"*/{name}"))
    damaged.unlink() if left is None else damaged.write_bytes(damaged.read_bytes()[:left])
    again = fit(prepared, spec.model, spec.training, folder=tmp_path, say=told.append)
    assert equal(weights(first), weights(again))
    assert not again.reused
    assert (name == "history.json" and left is None) or "can't be read, so it is trained anew" in told[0]


@pytest.mark.parametrize("left", [0, 20, 5000])
def test_a_damaged_checkpoint_is_told_and_the_run_begins_anew(
    left: int, prepared: Prepared, wave_spec: Callable[..., Spec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, told = wave_spec(training={"epochs": 2}), []
    calm = fit(prepared, spec.model, spec.training, folder=tmp_path / "calm", say=QUIET)

    def killed_in_the_second_epoch(run: Run) -> float:
        if run.progress.rows:
            raise KeyboardInterrupt
        return 1.0

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_validation_loss", killed_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            fit(prepared, spec.model, spec.training, folder=tmp_path / "killed", say=QUIET)
    checkpoint = next((tmp_path / "killed").glob("*/checkpoint.pt"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:left])
    again = fit(prepared, spec.model, spec.training, folder=tmp_path / "killed", say=told.append)
    assert "starting from the beginning" in told[0]
    assert equal(weights(calm), weights(again))


def test_other_code_or_another_torch_is_another_result(
    prepared: Prepared, wave_spec: Callable[..., Spec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = wave_spec()

    def key() -> str:
        fingerprint.code_fingerprint.cache_clear()
        return training_key(prepared, prepared.ranges, spec.model, spec.training)

    keys = [key()]
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    keys.append(key())
    for room in ("data", "models", "pipelines"):
        shutil.copytree(
            fingerprint.ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("bundled", "__pycache__")
        )
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    assert key() == keys[-1]
    for file in ("models/stid.py", "data/windows.py", "pipelines/prepare.py", "pipelines/zoo.py", "pipelines/train.py"):
        (tmp_path / file).write_text("pass")
        keys.append(key())
    fingerprint.code_fingerprint.cache_clear()
    assert len(set(keys)) == len(keys)


def test_a_full_disk_is_one_message_whoever_writes(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk; each library reports it in its own way."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    writers = {
        "text": lambda file: file.write_bytes(bytes(400_000)),
        "torch": lambda file: torch.save(torch.zeros(100_000), file),
        "safetensors": lambda file: save_file({"a": torch.zeros(100_000)}, file),
        "parquet": lambda file: pl.DataFrame({"a": np.random.default_rng(0).normal(size=50_000)}).write_parquet(file),
    }
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most[1]))
    try:
        for name, write in writers.items():
            with pytest.raises(StoreError, match=f"can't write .*{name}: "):
                write_whole(tmp_path / name, write)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert not list(tmp_path.iterdir())


def test_nothing_fitted_depends_on_what_comes_after_validation(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    """Scaler and weights are the same when the whole test range is noise; the scaler even when validation is."""
    dataset, spec = waves(), wave_spec()
    before = prepare(spec, dataset)

    def disturbed(first: int) -> Prepared:
        values = dataset.panel.values.copy()
        values[first:] = np.random.default_rng(1).normal(size=values[first:].shape) * 1e4
        return prepare(spec, replace(dataset, panel=replace(dataset.panel, values=values)))

    kept = fit(before, spec.model, spec.training, folder=tmp_path / "kept", say=QUIET)
    noisy = fit(
        disturbed(before.ranges.validation_end), spec.model, spec.training, folder=tmp_path / "noisy", say=QUIET
    )
    assert equal(weights(kept), weights(noisy))
    later = new_network(disturbed(before.ranges.train_end), spec.model, before.ranges.train_end)
    assert torch.equal(later.scaler.mean, kept.network.scaler.mean)
    assert torch.equal(later.scaler.std, kept.network.scaler.std)


def test_a_series_of_released_counts_that_is_mostly_noise_counts_for_less(
    prepared: Prepared, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    """All series have the same noise; that of the smallest spread is one of noise alone."""
    spread = training_scaler(prepared, prepared.ranges.train_end).std[:, 0]
    noisy = replace(prepared, noise_variance=(float(spread.min() ** 2),))
    model, training = DLinearModel(name="dlinear"), wave_spec().training
    errors = []
    for each in (prepared, noisy):
        torch.manual_seed(0)
        network = new_network(each, model, each.ranges.train_end)
        run = Run(each, network, model, training, each.ranges, tmp_path, QUIET)
        batch = next(iter(run.check.batches(8)))
        only_smallest = batch.y_mask & (spread == spread.min())[:, None]
        errors.append(run._loss(replace(batch, y_mask=only_smallest)).item())
    (weight,) = signal_shares(spread[:, None], noisy.noise_variance)[spread == spread.min()]
    assert weight < 0.5
    assert errors[1] == pytest.approx(float(weight) * errors[0], rel=1e-5)


def test_training_stops_when_validation_no_longer_improves(
    prepared: Prepared, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    spec = wave_spec(training={"epochs": 200, "patience": 2, "learning_rate": 0.05})
    history = fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET).history
    assert len(history.epochs) == history.best_epoch + 3
    assert len(history.epochs) < 200


def test_a_loss_that_is_no_number_stops_with_advice(
    prepared: Prepared, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    spec = wave_spec(training={"learning_rate": 1e30, "gradient_clip": None, "loss": "mse"})
    with pytest.raises(TrainingError, match=r"lower\s+training\.learning_rate"):
        fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET)


def test_bfloat16_trains_close_to_float32(prepared: Prepared, wave_spec: Callable[..., Spec], tmp_path: Path) -> None:
    full, half = (
        wave_spec(training={"precision": precision, "epochs": 8, "learning_rate": 0.01})
        for precision in ("float32", "bfloat16")
    )
    losses = [
        fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET).history.epochs["validation_loss"].min()
        for spec in (full, half)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns itself while it traces
def test_compiled_training_comes_close_to_plain_training(
    prepared: Prepared, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    losses = []
    for is_compiled in (False, True):
        spec = wave_spec(model={"dropout": 0.0}, training={"compile": is_compiled})
        fitted = fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET)
        losses.append(fitted.history.epochs["validation_loss"].to_list())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


TRAIN = """
import sys
from pathlib import Path
import numpy as np, pandas as pd, polars as pl
sys.path.insert(0, {tests!r})
from conftest import manifest
from data.dataset import DataSet
from data.panel import Panel
from pipelines.prepare import prepare
from pipelines.spec import parse_spec
from pipelines.train import fit

draw = np.random.default_rng(0)
values = draw.normal(size=(400, 3, 1)).cumsum(0)
index = pd.date_range("2024-01-01", periods=400, freq="h", tz="UTC")
nodes = pl.DataFrame({{"node": list("abc")}})
panel = Panel(values, values == values, index, ("a", "b", "c"), ("y",), "1h", nodes)
spec = parse_spec({{
    "name": "killed", "data": {{"kind": "long", "files": "x.csv"}}, "task": {{"window": 24, "horizon": 6}},
    "model": {{"name": "bigru", "hidden": 16, "dropout": 0.3}},
    "training": {{"epochs": 12, "batch_size": 16, "patience": 50, "checkpoint_minutes": {minutes}}},
}}, folder=Path())
print("begin", flush=True)
fit(prepare(spec, DataSet(panel, None, manifest("v"))), spec.model, spec.training, folder=Path({folder!r}))
"""


def train_in_a_process(folder: Path, *, minutes: float) -> subprocess.Popen[str]:
    code = TRAIN.format(folder=str(folder), minutes=minutes, tests=str(Path(__file__).parent))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("*/weights.safetensors")))


@pytest.mark.parametrize("times", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_kills_at_random_moments_leave_the_same_weights(times: int, tmp_path: Path) -> None:
    """A real kill -9, with a checkpoint at every step and with one now and then."""
    undisturbed = train_in_a_process(tmp_path / "calm", minutes=1.0)
    assert undisturbed.stdout is not None
    undisturbed.stdout.readline()
    began = time.monotonic()
    assert undisturbed.wait(timeout=300) == 0
    length = time.monotonic() - began
    moment = random.Random(0)
    kills = 0
    while kills < times:
        run = train_in_a_process(tmp_path / "killed", minutes=0.0 if kills % 2 else 0.002)
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(moment.uniform(0.3, 1.1) / times * length)
        if run.poll() is not None:  # done before the last kill
            break
        run.send_signal(signal.SIGKILL)
        run.wait()
        kills += 1
    last = train_in_a_process(tmp_path / "killed", minutes=0.002)
    assert last.wait(timeout=300) == 0
    assert kills >= times // 2 + 1
    assert equal(final_weights(tmp_path / "calm"), final_weights(tmp_path / "killed"))
    assert not list((tmp_path / "killed").rglob("checkpoint.pt"))
