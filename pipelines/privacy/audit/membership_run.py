"""How well today's attacks tell which windows a training without privacy has seen.

Of the windows at the end of the training range a random half goes into the training, and another random half into each
of some reference trainings. The rest of the range is in all of them.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from data.dataset import DataSet
from data.splits import sample_starts
from data.windows import Batch, WindowSampler
from pipelines.prepare import Prepared, prepare
from pipelines.privacy.audit.booking import audited
from pipelines.privacy.audit.canaries import blanked
from pipelines.privacy.audit.membership import Risk, lira, risk, rmia
from pipelines.privacy.audit.report import Report
from pipelines.privacy.audit.train_audit import thrown_away
from pipelines.privacy.audit.window_audit import new_seed, require_auditable
from pipelines.privacy.audit.window_training import sample_losses, train_unprotected
from pipelines.spec import Spec
from pipelines.train import new_network

SHARE = 0.3  # of the training range, whose windows are guessed at
REFERENCES = 8

Say = Callable[[str], None]


def audit_membership(
    spec: Spec, dataset: DataSet, *, references: int = REFERENCES, seed: int | None = None, say: Say
) -> Report:
    """Figures of two attacks on the training of `spec`; the `seed` says which windows it saw.

    Raises BudgetRefused where the data are protected.
    """
    prepared = prepare(spec, dataset)
    require_auditable(spec, new_network(prepared, spec.model, prepared.ranges.train_end))
    book = audited(spec)
    asked = {"run_id": book.run_id, "tenant": book.tenant, "data_set": book.data_set, "config_hash": spec.digest()}
    is_kept = book.ledger.reserve_nonprivate(sources=prepared.sources, **asked) is not None
    if is_kept:
        book.ledger.start(book.run_id)
    guessed_at, rest, others = _parted(prepared)
    rng = np.random.default_rng(new_seed() if seed is None else seed)
    members = _members(rng, references, len(guessed_at.x))
    losses, unseen = [], []
    for i, chosen in enumerate(members):
        say(f"training {i + 1} of {len(members)}")
        network = train_unprotected(spec, rest, blanked(guessed_at, chosen), say=say)
        losses.append(sample_losses(network, guessed_at, loss=spec.training.loss))
        unseen.append(sample_losses(network, others, loss=spec.training.loss))
    if is_kept:
        book.ledger.commit(book.run_id, artifact_hash=thrown_away(network))
    return Report(spec.name, "membership", book.run_id, book.claimed, risks=_risks(members, losses, unseen))


def _risks(members: npt.NDArray, losses: list[npt.NDArray], unseen: list[npt.NDArray]) -> tuple[Risk, ...]:
    own, reference = losses[0], np.stack(losses[1:])
    tau = float(np.median(own))  # losses around 1: else exp(-loss) is 0 or 1 for all
    attacks = {
        "lira": lira(own, reference, members[1:], tau=tau),
        "rmia": rmia(
            own,
            reference,
            members[1:],
            population=unseen[0],
            population_reference=np.stack(unseen[1:]),
            tau=tau,
        ),
    }
    return tuple(risk(name, scores, members[0]) for name, scores in attacks.items())


def _parted(prepared: Prepared) -> tuple[Batch, Prepared, Batch]:
    """Windows to guess at, the task without them, and windows of the validation range, which nobody trains on."""
    ranges, lengths = prepared.ranges, (prepared.shape.window, prepared.shape.horizon)
    cut = round((1 - SHARE) * ranges.train_end)
    shorter = replace(prepared, ranges=replace(ranges, train_end=cut))
    return (
        _samples(prepared, cut, ranges.train_end, *lengths),
        shorter,
        _samples(prepared, ranges.train_end, ranges.validation_end, *lengths),
    )


def _samples(prepared: Prepared, first: int, last: int, window: int, horizon: int) -> Batch:
    starts = torch.tensor(list(sample_starts(first, last, window=window, horizon=horizon)))
    return WindowSampler(prepared.series, starts, window=window, horizon=horizon).take(slice(None))


def _members(rng: np.random.Generator, references: int, windows: int) -> npt.NDArray[np.bool_]:
    """[1 + K, S]: by coins for the audited network; of the references a random half has each window."""
    half = np.arange(references) < references // 2
    shuffled = np.stack([rng.permutation(half) for _ in range(windows)], axis=1)  # [K, S]
    return np.concatenate([rng.random((1, windows)) < 0.5, shuffled])
