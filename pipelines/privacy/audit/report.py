"""What an audit came to: for a terminal, for MLflow, for the version of the model that it speaks of."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from pipelines.fingerprint import git_revision
from pipelines.privacy.audit.design import Outcome, rounded_down
from pipelines.privacy.audit.membership import Risk
from pipelines.register import experiment_id, logging_to
from pipelines.registry import client
from pipelines.spec import Spec
from pipelines.tables import drawn

if TYPE_CHECKING:
    from mlflow import MlflowClient

DIGEST = "flockcast.spec_digest"  # of the runs that train


@dataclass(frozen=True)
class Report:
    """One audit of one spec: bounds with their verdicts, or figures of risk."""

    spec: str
    kind: str
    ledger_run: str  # under which the ledger has design and result; empty where nothing was designed
    claim: str  # the claim's sentence, or that nothing is claimed
    outcomes: tuple[Outcome, ...] = ()
    risks: tuple[Risk, ...] = ()

    @property
    def is_violated(self) -> bool:
        return any(outcome.verdict == "violated" for outcome in self.outcomes)

    @property
    def tags(self) -> dict[str, str]:
        """Of the MLflow run and of the audited version; of several bounds the worst one."""
        told = {"audit.kind": self.kind, "audit.claim": self.claim, "audit.ledger_run": self.ledger_run}
        told |= {"audit.git": git_revision()}
        if self.outcomes:
            worst = self.worst
            told |= {"audit.verdict": worst.verdict, "audit.bound": rounded_down(worst.bound)}
            told |= {"audit.sentence": worst.sentence, "audit.delta": repr(worst.design.delta)}
        for risk in self.risks:
            told[f"audit.{risk.attack}_auc"] = f"{risk.auc:.4f}"
        return told

    @property
    def worst(self) -> Outcome:
        """A violated claim before one that holds, and the largest bound of these."""
        order = ("vacuous", "consistent", "violated")
        return max(self.outcomes, key=lambda outcome: (order.index(outcome.verdict), outcome.bound))

    @property
    def table(self) -> str:
        parts = [_bounds(self.outcomes)] if self.outcomes else []
        parts += [_risks(self.risks)] if self.risks else []
        return "\n".join([*parts, *(outcome.sentence for outcome in self.outcomes), *_cautions(self)])


def _bounds(outcomes: tuple[Outcome, ...]) -> str:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("audit", "unit", "canaries or trials", "evidence", "bound", "ceiling", "claim", "verdict"):
        table.add_column(column)
    for found in outcomes:
        design = found.design
        many = design.record().get("canaries") or design.record()["trials"]
        evidence = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in found.evidence.items())
        claim = "none" if found.claim is None else f"{found.claim:.4g}"
        figures = (rounded_down(found.bound), rounded_down(found.ceiling), claim)
        table.add_row(design.kind, design.unit, f"{int(many):,}", evidence, *figures, found.verdict)
    return drawn(table)


def _risks(risks: tuple[Risk, ...]) -> str:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("attack", "members found at 0.1 % false alarms", "at 1 %", "AUC"):
        table.add_column(column)
    for risk in risks:
        table.add_row(
            risk.attack, f"{risk.tpr_at_tenth_percent:.2%}", f"{risk.tpr_at_one_percent:.2%}", f"{risk.auc:.3f}"
        )
    return drawn(table)


def _cautions(report: Report) -> list[str]:
    if report.risks:
        return ["Figures of risk, not bounds: a better attack may find more."]
    return []


def log_audit(report: Report, spec: Spec) -> str | None:
    """An MLflow run of its own, beside the trainings, and tags on the newest version of the same configuration.

    Gives that version, None where no version was trained by this spec. The audited network itself is kept nowhere.
    """
    import mlflow

    store = client(spec.registry.tracking_uri)
    with (
        logging_to(store),
        mlflow.start_run(experiment_id=experiment_id(store, f"{spec.name}-audit"), run_name=f"audit {report.kind}"),
    ):
        mlflow.set_tags({**report.tags, DIGEST: spec.digest()})
        mlflow.log_dict(
            [{**asdict(outcome), "verdict": outcome.verdict} for outcome in report.outcomes], "outcomes.json"
        )
        mlflow.log_dict(json.loads(json.dumps([asdict(risk) for risk in report.risks])), "risks.json")
        for outcome in report.outcomes:
            known = {"bound": outcome.bound, "ceiling": outcome.ceiling, "claim": outcome.claim, **outcome.evidence}
            mlflow.log_metrics(
                {f"{outcome.design.kind}/{name}": value for name, value in known.items() if value is not None}
            )
    version = _audited_version(store, spec)
    if version is not None and not _stays_refuted(store, spec.registered_name, version, report):
        for name, value in report.tags.items():
            store.set_model_version_tag(spec.registered_name, version, name, value)
    return version


def _stays_refuted(store: "MlflowClient", name: str, version: str, report: Report) -> bool:
    """Whether the version's claim was refuted by an audit of another kind, which this one has not done again."""
    before = store.get_model_version(name, version).tags
    refuted_by = before.get("audit.kind") if before.get("audit.verdict") == "violated" else None
    return refuted_by not in (None, report.kind) and not report.is_violated


def _audited_version(store: "MlflowClient", spec: Spec) -> str | None:
    """The newest version whose run had this very configuration."""
    found = store.search_model_versions(f"name = '{spec.registered_name}'")
    for version in sorted(found, key=lambda version: -int(version.version)):
        if version.run_id and store.get_run(version.run_id).data.tags.get(DIGEST) == spec.digest():
            return str(version.version)
    return None
