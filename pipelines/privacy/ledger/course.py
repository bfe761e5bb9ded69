"""Whether an entry may follow what a run and a budget have seen: who can write to the database can append to it."""

from dataclasses import replace

from pipelines.privacy.ledger.account import Account, Run
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.mechanisms import PrivateTraining, from_record


def out_of_course(entry: Entry, account: Account) -> str:
    """What makes `entry` impossible after the entries in `account`; empty where nothing does."""
    run = account.runs.get(entry.get("run_id"))
    if entry.type == "reserve":
        return "its run was reserved before" if run else ""
    if entry.type == "policy":
        return _unapproved(entry, account)
    if entry.type not in ("start", "progress", "commit", "release"):
        return ""
    if run is None:
        return "it belongs to no reservation"
    if not run.is_open:
        return f"its run was {run.state} before"
    if entry.type == "release":
        return "it gives back what may have been spent: its run had begun" if run.attempts else ""
    return _too_little(entry, run) if entry.type == "commit" else ""


def _unapproved(entry: Entry, account: Account) -> str:
    changes = entry.get("unit") in account.policies
    if account.policies and not changes and entry.get("separately", False) is not True:
        return "it gives a second unit a budget without saying that spends are counted separately"
    return (
        "it changes a budget without an approver beside the one who asked"
        if changes and entry.get("approver") in ("", entry.get("actor"))
        else ""
    )


def _too_little(entry: Entry, run: Run) -> str:
    """A commit charges what was reserved, and of steps no fewer than were announced."""
    if run.reserved is None:
        return ""
    charged = from_record(entry.fields["mechanism"])
    if isinstance(charged, PrivateTraining) and isinstance(run.reserved, PrivateTraining):
        if charged.steps < run.attempted:
            return f"it charges {charged.steps} steps, but {run.attempted} may have been taken"
        charged = replace(charged, steps=run.reserved.steps)
    return "" if charged == run.reserved else "it charges another mechanism than was reserved"
