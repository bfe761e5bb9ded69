"""Audit the training of a spec by one run: canaries beside its windows, or spikes in its slots.

It is a run of its own with the settings of production. The canaries are junk to learn from, so what it trains is thrown
away; but it has read the data, and is charged like any other run.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.windows import Batch
from models.flow_forecaster import FlowForecaster
from models.forecaster import Scaled
from pipelines.errors import SpecError
from pipelines.prepare import Prepared
from pipelines.privacy.audit.canaries import Coins, blanked, canary_hash, window_canaries
from pipelines.privacy.audit.slot_canaries import fitting, samples_with, slot_canaries
from pipelines.privacy.audit.window_training import sample_losses
from pipelines.spec import Spec


@dataclass(frozen=True)
class Planted:
    """Canaries of a training: the samples that are added for coins, and the losses of each canary [m]."""

    extra: Callable[[Coins], Batch]  # always as many, those of canaries that are out blanked
    losses: Callable[[Scaled], npt.NDArray[np.float64]]
    start: Scaled  # the network before training
    count: int  # m
    hash: str


def plant_windows(spec: Spec, prepared: Prepared, start: Scaled, *, canaries: int, seed: int) -> Planted:
    """Canaries of unit `window`: samples that no data could have made."""
    shape = prepared.shape
    batch = window_canaries(
        canaries,
        scaler=start.scaler,
        calendar=prepared.series.calendar,
        window=shape.window,
        horizon=shape.horizon,
        seed=seed,
    )
    return Planted(
        extra=lambda coins: blanked(batch, coins),
        losses=lambda network: sample_losses(network, batch, loss=spec.training.loss),
        start=start,
        count=canaries,
        hash=canary_hash(batch.x, batch.y),
    )


def plant_slots(spec: Spec, prepared: Prepared, start: Scaled, *, canaries: int, seed: int) -> Planted:
    """Canaries of unit `slot`: all samples that hold a spike. Raises SpecError where so many don't fit."""
    lengths = {"window": prepared.shape.window, "horizon": prepared.shape.horizon}
    series, steps = prepared.series, prepared.ranges.train_end
    try:
        spikes = slot_canaries(
            canaries, series, std=start.scaler.std.cpu(), first=lengths["window"], last=steps, seed=seed, **lengths
        )
    except ValueError as error:
        raise SpecError(f"--canaries: {error}") from None
    batch, owner, is_target = samples_with(series, spikes, steps=steps, stride=prepared.stride, **lengths)

    def losses(network: Scaled) -> npt.NDArray[np.float64]:
        each = sample_losses(network, batch, loss=spec.training.loss)
        return np.bincount(owner, weights=each * is_target, minlength=canaries).astype(np.float64)

    return Planted(
        extra=lambda coins: blanked(batch, coins[owner]),
        losses=losses,
        start=start,
        count=canaries,
        hash=canary_hash(spikes.slots, spikes.values),
    )


def most_slots(prepared: Prepared) -> int:
    """How many spikes fit."""
    shape = prepared.shape
    return fitting(first=shape.window, last=prepared.ranges.train_end, window=shape.window, horizon=shape.horizon)


def gain(planted: Planted) -> Callable[[Scaled], npt.NDArray[np.float64]]:
    """The score of each canary: its loss before training less its loss after it."""
    before = planted.losses(planted.start)
    return lambda network: before - planted.losses(network)


def require_auditable(spec: Spec, network: Scaled) -> None:
    """Raises SpecError for a model whose samples can't be made up."""
    if isinstance(network.network, FlowForecaster) or network.edge_steps:
        raise SpecError(
            f"model.name: {spec.model.name!r} reads flows, for which no canaries are made yet; audit its private step "
            "with --kind step"
        )


def new_seed() -> int:
    """Too large to be guessed from its hash."""
    return secrets.randbits(63)
