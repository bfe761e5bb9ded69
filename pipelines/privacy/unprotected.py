"""Training without privacy on data that a budget protects: refused, or with the owner's leave, for the house alone.

Data are known by their name and by their files, so another name opens no door. What comes of a leave is marked as a
forecast from raw counts is, wherever it goes: nothing is promised of such a model.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from pipelines import settings
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.spec import Experiment

NOTHING_PROMISED = "nothing is promised: trained without privacy on data that a budget protects"


@dataclass(frozen=True)
class Leave:
    """To train without privacy. `run_id` is that of the ledger; None where nothing protects the data."""

    ledger: Ledger | None = None
    run_id: str | None = None

    @property
    def is_internal(self) -> bool:
        """Whether what is trained has to stay in the house."""
        return self.run_id is not None

    def used(self, training_key: str) -> None:
        """The training is over."""
        if self.ledger is not None and self.run_id is not None:
            self.ledger.commit(self.run_id, artifact_hash=training_key)


def ask_leave(spec: Experiment, sources: Iterable[str]) -> Leave:
    """For a spec without privacy and data that were read from `sources`, the sha256 of their files.

    Raises BudgetRefused where a budget protects them and their owner allows no such run.
    """
    if not _there_is_a_ledger():
        return Leave()
    ledger, run_id = Ledger.open(), f"plain-{spec.name}-{secrets.token_hex(6)}"
    files = tuple(sorted(set(sources)))
    asked = {"tenant": "default", "data_set": spec.name, "config_hash": spec.digest()}
    if ledger.reserve_nonprivate(run_id=run_id, sources=files, **asked) is None:
        return Leave()
    ledger.start(run_id)
    return Leave(ledger, run_id)


def _there_is_a_ledger() -> bool:
    """Whoever has no budgets should not find a ledger at home because they trained a model."""
    url = make_url(settings.ledger_url())
    return url.get_backend_name() != "sqlite" or url.database is None or Path(url.database).exists()
