from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from data.dataset import DataSet
from pipelines.evaluate import forecast_at, targets_at
from pipelines.prepare import Prepared, prepare
from pipelines.ridge import fit_ridge
from pipelines.spec import Spec


def with_gaps(dataset: DataSet, gaps: Literal["none", "anywhere", "at night"]) -> DataSet:
    mask = dataset.panel.mask.copy()
    if gaps == "anywhere":
        mask &= np.random.default_rng(1).random(mask.shape) >= 0.5
    if gaps == "at night":
        mask &= (np.arange(len(mask)) % 24 >= 12)[:, None, None]
    return replace(
        dataset, panel=replace(dataset.panel, values=np.where(mask, dataset.panel.values, np.nan), mask=mask)
    )


def error(prepared: Prepared) -> float:
    cutoffs = range(prepared.ranges.validation_end - 1, prepared.ranges.end - prepared.shape.horizon)
    forecast = forecast_at(fit_ridge(prepared, prepared.ranges), prepared, cutoffs, window=prepared.shape.window)
    truth, mask = targets_at(prepared, cutoffs)
    return float(np.abs(forecast - truth)[mask].mean())


@pytest.mark.parametrize("gaps", ["anywhere", "at night"])
def test_gaps_do_not_cripple_the_yardstick(
    gaps: Literal["anywhere", "at night"], waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]
) -> None:
    """A wave of amplitude 5 with noise of size 1: half of it missing costs less than half the noise again."""
    whole, holed = (error(prepare(wave_spec(), with_gaps(waves(1000, missing=0), each))) for each in ("none", gaps))
    assert whole < 1
    assert holed < 1.5 * whole


def test_the_weights_without_penalty_are_those_of_least_squares(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against numpy's solver on a design matrix that is whole."""
    monkeypatch.setattr("pipelines.ridge.PENALTIES", (1e-9,))
    monkeypatch.setattr("pipelines.ridge.MOST_INPUTS", 0)
    prepared = prepare(wave_spec(task={"window": 4, "horizon": 2}), waves(400, missing=0))
    model = fit_ridge(prepared, prepared.ranges)
    scaled = model.scaler.scale(prepared.series.values[: prepared.ranges.train_end])
    starts = torch.arange(len(scaled) - 5)
    x = scaled[starts[:, None] + torch.arange(4)]
    clock = prepared.series.calendar[starts[:, None] + torch.arange(6)]
    z = model.network.inputs(x, torch.ones_like(x, dtype=torch.bool), clock)[:, 1].double()
    change = (scaled[starts[:, None] + torch.tensor([4, 5])] - x[:, -1:])[:, :, 1, 0].double()
    expected = np.linalg.lstsq(z.numpy(), change.numpy())[0]
    fitted = z.numpy() @ model.network.weight[1].double().numpy()
    assert fitted == pytest.approx(z.numpy() @ expected, abs=1e-4)
