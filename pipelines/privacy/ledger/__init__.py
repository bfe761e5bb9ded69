"""The privacy ledger: who may spend how much of whose privacy, who did, and proof that nobody changed the book."""

from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.ledger.records import Charge, Policy

__all__ = ["Charge", "Entry", "Ledger", "Policy"]
