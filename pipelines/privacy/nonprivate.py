"""Leave for a run without privacy: files that a budget protects are not read past it, whatever the spec is called."""

from pathlib import Path

from sqlalchemy.engine import make_url

from pipelines import settings
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.sources import Sources
from pipelines.spec import Spec

TENANT = "default"  # of a spec without [privacy]; files are known whoever protects them


def require_leave(spec: Spec, sources: Sources) -> None:
    """Raises BudgetRefused where a budget protects these files, or a data set of this name, and allows no such runs."""
    if not _is_kept():
        return
    Ledger.open().reserve_nonprivate(
        run_id=f"plain-{sources.key}",
        tenant=TENANT,
        data_set=spec.name,
        sources=tuple(sorted(set(sources.of_rows.values()))),
        config_hash=spec.digest(),
    )


def _is_kept() -> bool:
    """Whether there is a ledger: nothing is protected where nobody has granted anything, and none is made."""
    address = make_url(settings.ledger_url())
    return address.get_backend_name() != "sqlite" or Path(str(address.database)).exists()
