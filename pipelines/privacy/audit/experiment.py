"""Audit a spec: which audit fits it, and where the result goes."""

from collections.abc import Callable
from typing import Literal

from pipelines.errors import AuditViolated, SpecError
from pipelines.graph_task.spec import GraphSpec
from pipelines.ingest import ingest_or_reuse
from pipelines.privacy.audit.membership_run import audit_membership
from pipelines.privacy.audit.release_run import audit_release
from pipelines.privacy.audit.report import Report, log_audit
from pipelines.privacy.audit.step_run import audit_private_step
from pipelines.privacy.audit.train_audit import WINDOWS, audit_control, audit_private, usual_guesses
from pipelines.privacy.spec import ReleasePrivacy, TrainingPrivacy
from pipelines.spec import Spec

Kind = Literal["auto", "one-run", "release", "step", "membership"]
Say = Callable[[str], None]


def audit(
    spec: Spec | GraphSpec, *, kind: Kind = "auto", canaries: int | None = None, guesses: int | None = None, say: Say
) -> Report:
    """Audit `spec`; `auto` is its release, or else its training. Raises SpecError where the audit does not fit."""
    if isinstance(spec, GraphSpec):
        raise SpecError("audits are of specs that forecast series or flows; tasks on graphs of edges have no privacy")
    chosen = _chosen(spec, kind)
    _require_halves(canaries, guesses)
    if isinstance(spec.privacy, ReleasePrivacy) and chosen == "release":
        many = canaries or WINDOWS
        return audit_release(spec, spec.privacy, canaries=many, guesses=guesses or usual_guesses(many), say=say)
    dataset, _ = ingest_or_reuse(spec, say=say)
    if chosen == "membership":
        return audit_membership(spec, dataset, say=say)
    if chosen == "step":
        many = canaries or WINDOWS
        return audit_private_step(spec, dataset, canaries=many, guesses=guesses or usual_guesses(many))
    train = audit_private if isinstance(spec.privacy, TrainingPrivacy) else audit_control
    return train(spec, dataset, canaries=canaries, guesses=guesses, say=say)


def _require_halves(canaries: int | None, guesses: int | None) -> None:
    """Raises SpecError for guesses that can't be half in and half out, before anything is read."""
    if guesses is not None and (guesses % 2 or guesses > (canaries or WINDOWS)):
        raise SpecError(
            f"--guesses {guesses}: half of them say in and half out, of {canaries or WINDOWS:,} canaries; take an even "
            "number, at most one a canary"
        )


def _chosen(spec: Spec, kind: Kind) -> Kind:
    is_release = isinstance(spec.privacy, ReleasePrivacy)
    if kind == "auto":
        return "release" if is_release else "one-run"
    if kind == "release" and not is_release:
        raise SpecError("--kind release: the spec releases no counts; it has no privacy.mechanism = 'release'")
    if kind == "step" and not isinstance(spec.privacy, TrainingPrivacy):
        raise SpecError("--kind step: the spec has no private step; it has no privacy.mechanism = 'dp_sgd'")
    if kind in ("one-run", "membership") and is_release:
        raise SpecError(
            f"--kind {kind}: this spec trains on a release, which costs nothing whatever the training does; audit the "
            "release"
        )
    if kind == "membership" and spec.privacy is not None:
        raise SpecError("--kind membership: epsilon bounds what such attacks can find; audit the training by one-run")
    return kind


def record(report: Report, spec: Spec, *, say: Say) -> str | None:
    """To MLflow, and to the version that the audit speaks of; gives that version."""
    version = log_audit(report, spec)
    about = f"{spec.registered_name} version {version}" if version else "no version: none was trained by this very spec"
    say(f"written to the ledger (run {report.ledger_run}) and to MLflow; tagged: {about}")
    return version


def require_holds(report: Report) -> None:
    """Raises AuditViolated where a claim was refuted."""
    if report.is_violated:
        raise AuditViolated(
            f"{report.worst.sentence} Do not release or train with this code: what it protects is less than it says."
        )
