"""Audit the training of a spec: with its privacy, or as a control where it has none."""

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from data.dataset import DataSet
from models.forecaster import Scaled
from pipelines.prepare import prepare
from pipelines.privacy.audit.booking import Audited, audited
from pipelines.privacy.audit.canaries import Coins
from pipelines.privacy.audit.design import Design, Outcome, hash_of_seed
from pipelines.privacy.audit.one_run import audit_training
from pipelines.privacy.audit.report import Report
from pipelines.privacy.audit.window_audit import (
    Planted,
    gain,
    most_slots,
    new_seed,
    plant_slots,
    plant_windows,
    require_auditable,
)
from pipelines.privacy.audit.window_training import train_unprotected
from pipelines.privacy.mechanisms import Unit
from pipelines.privacy.private_network import private_network
from pipelines.privacy.training_plan import plan_training
from pipelines.private_training import fit_privately
from pipelines.spec import Spec
from pipelines.train import new_network

Say = Callable[[str], None]
WINDOWS = 1000  # canaries, if nobody says otherwise
DELTA = 1e-6  # of a control, which has no claim to take it from
SCORE = "loss of the canary before training less its loss after it"


def audit_control(spec: Spec, dataset: DataSet, *, canaries: int | None, guesses: int | None, say: Say) -> Report:
    """One run without privacy. Its bound shows what this audit can see; nothing is claimed.

    Raises BudgetRefused where the data are protected and their owner allows no such run.
    """
    prepared = prepare(spec, dataset)
    torch.manual_seed(spec.training.seed)
    start = new_network(prepared, spec.model, prepared.ranges.train_end)
    require_auditable(spec, start)
    seed, book = new_seed(), audited(spec)
    planted = plant_windows(spec, prepared, start, canaries=canaries or WINDOWS, seed=seed)
    design = design_of(planted, unit="window", guesses=guesses or usual_guesses(planted.count), delta=DELTA, seed=seed)
    sources = tuple(sorted(set(dataset.manifest.sources.values())))
    asked = {"run_id": book.run_id, "tenant": book.tenant, "data_set": book.data_set, "config_hash": spec.digest()}
    is_kept = book.ledger.reserve_nonprivate(sources=sources, **asked) is not None
    book.design(design)
    if is_kept:
        book.ledger.start(book.run_id)

    def train(coins: Coins) -> Scaled:
        network = train_unprotected(spec, prepared, planted.extra(coins), say=say)
        if is_kept:
            book.ledger.commit(book.run_id, artifact_hash=thrown_away(network))
        return network

    outcome = audit_training(design, seed=seed, train=train, score=gain(planted), claim=None)
    return booked(spec, book, outcome)


def audit_private(spec: Spec, dataset: DataSet, *, canaries: int | None, guesses: int | None, say: Say) -> Report:
    """One private run with the settings of production, charged as any other. Raises BudgetRefused, and SpecError."""
    prepared = prepare(spec, dataset)
    plan = plan_training(spec, prepared, prepared.ranges)
    torch.manual_seed(spec.training.seed)
    start = private_network(spec, prepared)
    require_auditable(spec, start)
    seed, book = new_seed(), audited(spec, claimed=plan.claim.sentence)
    # of disjoint tiles a slot is in one a step, as a window that stands alone is
    plant, most = (plant_windows, WINDOWS) if plan.mechanism.group_size == 1 else (plant_slots, most_slots(prepared))
    planted = plant(spec, prepared, start, canaries=canaries or most, seed=seed)
    design = design_of(
        planted,
        unit=plan.claim.unit,
        guesses=guesses or usual_guesses(planted.count),
        delta=plan.claim.delta,
        seed=seed,
    )
    book.design(design)

    def train(coins: Coins) -> Scaled:
        with tempfile.TemporaryDirectory() as scratch:
            fitted = fit_privately(
                spec,
                prepared,
                folder=Path(scratch),
                ledger=book.ledger,
                extra=planted.extra(coins),
                run_id=book.run_id,
                say=say,
            )
        return fitted.network

    outcome = audit_training(design, seed=seed, train=train, score=gain(planted), claim=plan.claim.epsilon)
    return booked(spec, book, outcome)


def usual_guesses(canaries: int) -> int:
    """One in five, half of them "in"."""
    return max(2, 2 * (canaries // 10))


def design_of(planted: Planted, *, unit: Unit, guesses: int, delta: float, seed: int) -> Design:
    return Design(
        unit=unit,
        canaries=planted.count,
        guesses=guesses,
        delta=delta,
        score=SCORE,
        seed_hash=hash_of_seed(seed),
        canary_hash=planted.hash,
    )


def booked(spec: Spec, book: Audited, outcome: Outcome) -> Report:
    book.result(outcome)
    return Report(spec.name, "one-run", book.run_id, book.claimed, (outcome,))


def thrown_away(network: Scaled) -> str:
    """The hash of weights that nobody keeps."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()
