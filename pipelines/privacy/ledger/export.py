"""The ledger for an auditor: everything as JSON, the entries as CSV, or one page to read."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, Literal

from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.ledger.page import page
from pipelines.privacy.ledger.standing import Standing
from pipelines.privacy.ledger.verification import Verification

Format = Literal["json", "csv", "html"]
COLUMNS = (
    "tenant",
    "dataset_id",
    "run_id",
    "actor",
    "unit",
    "relation",
    "delta",
    "epsilon",
    "accountant",
    "renyi",
    "cap",
    "reason",
    "artifact_hash",
)


def export(ledger: Ledger, how: Format, *, actor: str | None = None) -> str:
    """The whole ledger, with an anchor signed for this export at its end if it verifies."""
    if ledger.verify().holds:  # or the anchor would vouch for a broken book
        ledger.anchor(actor=actor)
    entries, found = ledger.entries(), ledger.verify()
    if how == "csv":
        return _csv(entries)
    if how == "html":
        return page(ledger.standing(), entries, found, name=ledger.store.name)
    return _json(ledger.store.name, entries, found, ledger.standing())


def _json(name: str, entries: Sequence[Entry], found: Verification, standings: Sequence[Standing]) -> str:
    """`body` is the text that the hash is made of, so that the chain can be checked with nothing of ours."""
    record: dict[str, Any] = {
        "ledger": name,
        "verification": {
            "holds": found.holds,
            "sentence": found.sentence,
            "count": str(found.count),
            "head": found.head,
        },
        "standings": [_standing(standing) for standing in standings],
        "entries": [{"seq": str(entry.seq), "hash": entry.hash, "body": entry.body} for entry in entries],
    }
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _standing(standing: Standing) -> dict[str, Any]:
    rows = [
        {
            "blocks": row.blocks,
            "epsilon_spent": str(row.spent),
            "epsilon_with_reserved": str(row.with_reserved),
            "share_left": str(row.left),
            "runs": list(row.runs),
        }
        for row in standing.rows
    ]
    return {
        "policy": standing.policy.to_fields(),
        "sentence": standing.sentence,
        "beside": standing.beside,
        "blocks": rows,
    }


def _csv(entries: Sequence[Entry]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["seq", "time", "type", *COLUMNS, "blocks", "mechanism", "prev_hash", "hash"])
    for entry in entries:
        blocks, mechanism = " ".join(entry.get("blocks")), entry.get("mechanism")
        mechanism = json.dumps(mechanism, sort_keys=True) if mechanism else ""
        own = [_inert(str(entry.get(name))) for name in COLUMNS]
        writer.writerow([entry.seq, entry.time, entry.type, *own, blocks, mechanism, entry.prev_hash, entry.hash])
    return out.getvalue()


def _inert(cell: str) -> str:
    """A spreadsheet runs what begins like a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t") else cell
