"""What a model of protected data says of itself, and the proof that what it says was paid for."""

import hashlib
from collections.abc import Iterable

from safetensors.torch import save
from torch import nn

from data.dataset import DataSet
from pipelines.errors import RegistryError
from pipelines.privacy.claim import Claim, Protection
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.mechanisms import to_record

PROTECTED = "privacy.claim"  # the tag of every version that protects somebody
ROUNDING = 1e-5  # the ledger keeps so many digits of an epsilon


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


def require_trained(protection: Protection, network: nn.Module) -> None:
    """Raises RegistryError unless the ledger has the commit of `protection`, of this claim and of these very weights.

    What a training has left lies in a folder, where another's weights or a smaller epsilon could have been put.
    """
    commit = require_paid(protection)
    if not _is_of(commit, protection.claim):
        raise RegistryError(
            f"the claim of the model is not what run {protection.run_id} was charged for (entry {commit.seq}); its "
            "files were changed: remove them and train anew"
        )
    if commit.get("artifact_hash") != hashlib.sha256(save(network.state_dict())).hexdigest():
        raise RegistryError(
            f"the weights are not those that run {protection.run_id} committed (entry {commit.seq}); its files were "
            "changed: remove them and train anew"
        )


def _is_of(commit: Entry, claim: Claim) -> bool:
    fields = commit.fields
    told = (fields["unit"], fields["relation"], fields["delta"], fields["mechanism"])
    if told != (claim.unit, claim.relation, repr(claim.delta), to_record(claim.mechanism)):
        return False
    return claim.epsilon >= float(fields["epsilon"]) * (1 - ROUNDING)


def require_paid(protection: Protection, *, also: Iterable[str] = ()) -> Entry:
    """The commit of `protection`. Raises RegistryError unless the ledger has it, and one of each run in `also`."""
    ledger = Ledger.open()
    commits = ledger.entries(run_id=protection.run_id, type="commit")
    found = [entry for entry in commits if (entry.seq, entry.hash) == (protection.ledger_seq, protection.ledger_hash)]
    if not found:
        raise RegistryError(
            f"the privacy ledger {ledger.store.name} has no entry {protection.ledger_seq} that commits run "
            f"{protection.run_id}; a private model is registered beside the ledger that its budget is in: set "
            "FLOCKCAST_LEDGER to it"
        )
    unpaid = [run for run in also if not ledger.entries(run_id=run, type="commit")]
    if unpaid:
        raise RegistryError(f"the privacy ledger {ledger.store.name} has no commit of run {unpaid[0]}")
    return found[0]
