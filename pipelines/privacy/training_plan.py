"""What a private training of a spec comes to: which steps on which windows with how much noise, and what it costs.

Everything here follows from the spec and from the lengths of the data, which are public; no value is read.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from data.splits import Ranges, sample_starts
from pipelines.errors import SpecError
from pipelines.fingerprint import code_revision
from pipelines.prepare import Prepared
from pipelines.privacy.accounting import ACCOUNTANT, epsilon
from pipelines.privacy.calibration import noise_multiplier
from pipelines.privacy.claim import Claim
from pipelines.privacy.ledger.records import Charge
from pipelines.privacy.mechanisms import PrivateTraining
from pipelines.privacy.randomness import Randomness
from pipelines.privacy.spec import TrainingPrivacy
from pipelines.privacy.units import require_delta, windows_of
from pipelines.privacy.window_sampling import Sampler, make_sampler
from pipelines.spec import Spec

ASSUMED = (
    "nodes, calendar and public_scale are known without the data",
    "forecasts, their intervals and scores, which read raw data, stay inside the house",
)


@dataclass(frozen=True)
class TrainingPlan:
    """`starts` are all windows of the training range, those without an observed target too: their number is public."""

    mechanism: PrivateTraining
    sampler: Sampler
    starts: range
    span: int  # slots that one window reads or is compared with
    claim: Claim


def plan_training(spec: Spec, prepared: Prepared, ranges: Ranges) -> TrainingPlan:
    """Raises SpecError where the promise can't be kept with these settings."""
    privacy, shape = _privacy(spec), prepared.shape
    starts = sample_starts(0, ranges.train_end, window=shape.window, horizon=shape.horizon, stride=prepared.stride)
    span = shape.window + shape.edge_delay + shape.horizon
    try:
        require_delta(privacy.delta, units=len(starts) if privacy.unit == "window" else ranges.train_end)
    except ValueError as error:
        raise SpecError(f"privacy.delta: {error}") from None
    if privacy.sampling == "tiling" and prepared.stride != 1:
        raise SpecError("privacy.sampling: tiles begin at any slot; set task.stride = 1")
    size = batch_size(privacy, len(starts))
    try:
        sampler = make_sampler(privacy.sampling, windows=len(starts), batch_size=size, span=span)
    except ValueError as error:
        raise SpecError(f"privacy.batch_size: {error}; lower it") from None
    mechanism = _mechanism(spec, sampler, group_size=_group_size(spec, prepared, len(starts)))
    return TrainingPlan(mechanism, sampler, starts, span, _claim(privacy, mechanism))


def batch_size(privacy: TrainingPrivacy, windows: int) -> int:
    """`auto` is large: the noise of a step is that of one window, however many share it."""
    return privacy.batch_size if privacy.batch_size != "auto" else max(1, min(256, windows // 8))


def steps_of(epochs: int, sampler: Sampler) -> int:
    """As many as make each window expected `epochs` times, in whole steps."""
    size = round(sampler.expected)
    return max(1, epochs * sampler.windows // max(1, size))


def charge_of(
    spec: Spec, prepared: Prepared, ranges: Ranges, plan: TrainingPlan, *, run_id: str, randomness: Randomness
) -> Charge:
    """What is asked of the ledger before anything is read."""
    privacy = _privacy(spec)
    return Charge(
        run_id=run_id,
        tenant=privacy.tenant,
        data_set=privacy.data_set or spec.name,
        data_set_version=prepared.dataset_version,
        sources=prepared.sources,
        blocks=tuple(days_of(prepared.panel.index[: ranges.train_end])),
        unit=privacy.unit,
        relation=plan.claim.relation,
        mechanism=plan.mechanism,
        delta=privacy.delta,
        config_hash=spec.digest(),
        code_revision=code_revision(),
        window=plan.span,
        stride=prepared.stride,
        windows=len(plan.starts),
        sampler=plan.sampler.kind,
        output_kind="weights",
        rng=randomness.kind,
        assumptions=plan.claim.assumptions,
    )


def words(plan: TrainingPlan) -> list[tuple[str, str]]:
    """For people, before anything is spent: name and text of a line each."""
    training = plan.mechanism
    return [
        ("privacy", plan.claim.sentence),
        (
            "steps",
            f"{training.steps:,}, each of about {plan.sampler.expected:.0f} of {len(plan.starts):,} windows (rate "
            f"{training.sample_rate:.4g}), clipped to {training.max_grad_norm:g}, with noise of "
            f"{training.noise_multiplier:.4g} times that; one {plan.claim.unit} is in at most {training.group_size} "
            "windows of a step",
        ),
    ]


def days_of(index: pd.DatetimeIndex) -> Iterable[str]:
    """The local days that the steps of a panel lie in, oldest first."""
    return sorted({str(day) for day in index.date})


def _privacy(spec: Spec) -> TrainingPrivacy:
    assert isinstance(spec.privacy, TrainingPrivacy)
    return spec.privacy


def _group_size(spec: Spec, prepared: Prepared, windows: int) -> int:
    """In how many samples one unit is; of disjoint tiles in one."""
    privacy, shape = _privacy(spec), prepared.shape
    if privacy.unit == "window" or privacy.sampling == "tiling":
        return 1
    found = windows_of(
        slots=1, window=shape.window, horizon=shape.horizon, stride=prepared.stride, delay=shape.edge_delay
    )
    return min(found, windows)


def _mechanism(spec: Spec, sampler: Sampler, *, group_size: int) -> PrivateTraining:
    privacy = _privacy(spec)
    steps, noise = steps_of(spec.training.epochs, sampler), privacy.noise_multiplier
    if noise == "auto":
        try:
            noise = noise_multiplier(
                epsilon=privacy.epsilon,
                delta=privacy.delta,
                sample_rate=sampler.sample_rate,
                steps=steps,
                group_size=group_size,
            )
        except ValueError as error:
            raise SpecError(f"privacy.epsilon: {error}") from None
    return PrivateTraining(noise, sampler.sample_rate, steps, privacy.max_grad_norm, group_size, sampler.kind)


def _claim(privacy: TrainingPrivacy, mechanism: PrivateTraining) -> Claim:
    cost = epsilon([mechanism], delta=privacy.delta)
    if cost > privacy.epsilon * (1 + 1e-9):
        raise SpecError(
            f"privacy.noise_multiplier: with {mechanism.noise_multiplier:g} this training costs epsilon {cost:.3g} per "
            f"{privacy.unit}, and privacy.epsilon promises {privacy.epsilon:g}; write 'auto', or fewer training.epochs"
        )
    return Claim(
        unit=privacy.unit,
        relation="zero out",
        epsilon=cost,
        delta=privacy.delta,
        accountant=ACCOUNTANT,
        mechanism=mechanism,
        assumptions=ASSUMED,
    )
