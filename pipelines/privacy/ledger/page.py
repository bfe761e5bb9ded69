"""The auditor's page: one file that asks nothing of the network, bars of what is spent and left, and every run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.privacy import accounting
from pipelines.privacy.claim import rounded_up
from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.account import Run
from pipelines.privacy.ledger.blocks import fold
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.explain import mechanism_sentence
from pipelines.privacy.ledger.standing import Row, Standing
from pipelines.privacy.ledger.verification import Verification

STYLE = Path(__file__).parents[2] / "report" / "style.css"


def page(standings: Sequence[Standing], entries: Sequence[Entry], found: Verification, *, name: str) -> str:
    environment = Environment(
        loader=PackageLoader("pipelines.privacy", "ledger"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        name=name,
        accountant=accounting.ACCOUNTANT,
        found=found,
        budgets=[_budget(standing, entries) for standing in standings],
        refusals=[entry for entry in entries if entry.type == "refuse"],
        audits=[entry for entry in entries if entry.type == "audit" and entry.get("phase") == "result"],
        policies=[entry for entry in entries if entry.type == "policy"],
        anchor=next((entry for entry in reversed(entries) if entry.type == "anchor"), None),
        style=Markup(STYLE.read_text(encoding="utf-8")),
    )


def _budget(standing: Standing, entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "policy": standing.policy,
        "sentence": standing.sentence,
        "granted": standing.granted,
        "beside": standing.beside,
        "rows": [_bar(row, standing.policy.epsilon) for row in standing.rows],
        "runs": [_run(run, entries) for run in standing.runs],
    }


def _bar(row: Row, cap: float) -> dict[str, Any]:
    """Widths are shares of the filter's cap, which is what is enforced; figures are epsilons."""
    spent, reserved = float(row.spent), float(row.with_reserved)
    used, settled = 100 * (1 - float(row.left)), 100 * float(row.settled)
    return {
        "blocks": row.blocks,
        "spent": rounded_up(spent),
        "reserved": rounded_up(reserved),
        "cap": f"{cap:g}",
        "left": int(row.left * 100),
        "settled": f"{min(settled, used):.1f}",
        "open": f"{max(used - settled, 0):.1f}",
        "runs": len(row.runs),
    }


def _run(run: Run, entries: Sequence[Entry]) -> dict[str, Any]:
    last = [entry for entry in entries if entry.get("run_id") == run.run_id][-1]
    told = run.commit or run.entry
    spent = run.committed or run.reserved
    return {
        "id": run.run_id,
        "state": "settled by the reaper" if told.get("actor") == "reaper" else run.state,
        "epsilon": rounded_up(float(cost.epsilon(run.counted, float(run.entry.get("delta"))))),
        "delta": run.entry.get("delta"),
        "mechanism": mechanism_sentence(spent) if spent else "without privacy",
        "blocks": ", ".join(fold(run.blocks)),
        "output": run.entry.get("output_kind"),
        "model": told.get("model_version") or told.get("artifact_hash")[:12],
        "actor": run.entry.get("actor"),
        "seq": last.seq,
        "hash": last.hash,
    }
