"""What a manifest says of privacy."""

from data.dataset import Manifest
from data.snapshot_store import SnapshotManifest
from pipelines.privacy.claim import Claim, Protection


def claim_of(manifest: Manifest | SnapshotManifest) -> Claim | None:
    """What a private release promises; None of data that are none."""
    if not isinstance(manifest, Manifest) or manifest.release is None:
        return None
    return Protection.from_json(manifest.release.protection).claim
