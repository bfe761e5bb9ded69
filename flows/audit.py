"""Audit the privacy of a spec, now or by the clock: monthly, and on every change of the training code.

A claim that was refuted fails the flow, so that whoever watches runs sees it.
"""

from typing import TypedDict

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.artifacts import in_a_run, key
from flows.names import run_name
from flows.retry import DELAYS, RETRIES, may_pass
from flows.say import say
from pipelines.kinds import AnySpec
from pipelines.privacy.audit.experiment import Kind, record, require_holds
from pipelines.privacy.audit.experiment import audit as carry_out
from pipelines.privacy.audit.report import Report
from pipelines.spec import Spec, load_spec


class Audit(TypedDict):
    verdicts: list[str]
    bounds: list[float]
    ledger_run: str
    version: str | None  # that was tagged


@flow(flow_run_name=run_name)
def audit(spec: str, kind: Kind = "auto", canaries: int | None = None, guesses: int | None = None) -> Audit:
    """Audit `spec`, a path or a bundled name. Raises AuditViolated where its claim is refuted."""
    chosen = load_spec(spec)
    report = find(chosen, kind, canaries, guesses)
    version = write_down(chosen, report)
    require_holds(report)
    return Audit(
        verdicts=[outcome.verdict for outcome in report.outcomes],
        bounds=[outcome.bound for outcome in report.outcomes],
        ledger_run=report.ledger_run,
        version=version,
    )


# an audit that is tried again would be a second spend
@task(name="audit", task_run_name="audit {spec.name}", cache_policy=NO_CACHE)
def find(spec: AnySpec, kind: Kind, canaries: int | None, guesses: int | None) -> Report:
    report = carry_out(spec, kind=kind, canaries=canaries, guesses=guesses, say=say)
    say(report.table)
    if in_a_run():
        create_markdown_artifact(f"```\n{report.table}\n```", key(spec.name, "audit"), report.claim)
    return report


@task(
    name="write down",
    retries=RETRIES,
    retry_delay_seconds=DELAYS,
    retry_condition_fn=may_pass,
    cache_policy=NO_CACHE,
)
def write_down(spec: Spec, report: Report) -> str | None:
    return record(report, spec, say=say)
