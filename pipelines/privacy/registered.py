"""What a model of protected data says of itself, and the proof that what it says was paid for."""

from collections.abc import Iterable

from data.dataset import DataSet
from pipelines.errors import RegistryError
from pipelines.privacy.claim import Protection
from pipelines.privacy.ledger.ledger import Ledger

PROTECTED = "privacy.claim"  # the tag of every version that protects somebody


def protection_of(dataset: DataSet) -> Protection | None:
    """What the release promises that a data set is; None of data that were not released privately.

    Raises RegistryError where the ledger does not hold all that the release cost.
    """
    release = dataset.manifest.release
    if release is None:
        return None
    protection = Protection.from_json(release.protection)
    require_paid(protection, also=release.runs)
    return protection


def require_paid(protection: Protection, *, also: Iterable[str] = ()) -> None:
    """Raises RegistryError unless the ledger has the commit of `protection`, and one of every other run in `also`."""
    ledger = Ledger.open()
    commits = ledger.entries(run_id=protection.run_id, type="commit")
    if not any((entry.seq, entry.hash) == (protection.ledger_seq, protection.ledger_hash) for entry in commits):
        raise RegistryError(
            f"the privacy ledger {ledger.store.name} has no entry {protection.ledger_seq} that commits run "
            f"{protection.run_id}; a private model is registered beside the ledger that its budget is in: set "
            "FLOCKCAST_LEDGER to it"
        )
    unpaid = [run for run in also if not ledger.entries(run_id=run, type="commit")]
    if unpaid:
        raise RegistryError(f"the privacy ledger {ledger.store.name} has no commit of run {unpaid[0]}")
