"""What a release costs."""

import hashlib
import json
import secrets
from dataclasses import dataclass

from pipelines.privacy import accounting
from pipelines.privacy.claim import Claim
from pipelines.privacy.ledger.records import Charge
from pipelines.privacy.release.domain import Domain
from pipelines.privacy.release.drawing import Release
from pipelines.sources import Sources
from pipelines.spec import LongData, WideData

RELATION = "add or remove"


@dataclass(frozen=True)
class Draw:
    """Noise that is about to be drawn on these periods."""

    domain: Domain
    periods: tuple[str, ...]
    mechanism: Release
    sources: Sources

    @property
    def claim(self) -> Claim:
        privacy = self.domain.privacy
        return Claim(
            unit=privacy.unit,
            relation=RELATION,
            epsilon=accounting.epsilon([self.mechanism], delta=privacy.delta),
            delta=privacy.delta,
            accountant=accounting.ACCOUNTANT,
            mechanism=self.mechanism,
            span=privacy.span,
            assumptions=assumptions(self.domain),
        )

    def charge(self) -> Charge:
        """A run of its own: drawing the same periods again would be another one, and cost as much again."""
        privacy = self.domain.privacy
        return Charge(
            run_id=f"release-{secrets.token_hex(8)}",
            tenant=privacy.tenant,
            data_set=self.domain.data_set,
            data_set_version=self._version,
            sources=self._hashes,
            blocks=self.periods,
            unit=privacy.unit,
            relation=RELATION,
            mechanism=self.mechanism,
            delta=privacy.delta,
            config_hash=self.domain.spec.digest(),
            span=privacy.span,
            contribution_bound=self._bound,
            output_kind="counts",
            assumptions=assumptions(self.domain),
        )

    @property
    def _hashes(self) -> tuple[str, ...]:
        """Of the files with rows of people; a zone table has none, and may serve many data sets."""
        return tuple(sorted(set(self.sources.of_rows.values())))

    @property
    def _version(self) -> str:
        return hashlib.sha256(json.dumps([self.domain.recipe, self._hashes]).encode()).hexdigest()[:16]

    @property
    def _bound(self) -> dict[str, str]:
        privacy = self.domain.privacy
        if self.domain.counts == "series":
            return {"kind": "vouched", "nodes_at_a_time": str(self.domain.nested)}
        if privacy.unit == "trip":
            return {"kind": "each trip by itself"}
        k, c = privacy.trips_per_unit or 1, privacy.trips_per_cell
        return {"kind": "keyed hash", "trips_per_unit": str(k), "trips_per_cell": str(min(k, c))}


def assumptions(domain: Domain) -> tuple[str, ...]:
    privacy = domain.privacy
    if domain.counts == "series":
        most = "one node" if domain.nested == 1 else f"{domain.nested} nodes"
        if is_of_totals(domain):
            return (f"a person adds at most one to the running total of {most} in a step, and is never taken off",)
        return (f"a person is in {most} at most at a time and counts once a step",)
    return (f"a person has one id in column {privacy.person!r}",) if privacy.person else ()


def is_of_totals(domain: Domain) -> bool:
    """Whether what is released is by how much running totals grew; of counts of who is present, whoever leaves would
    be in a second step, and on a later day perhaps."""
    data = domain.spec.data
    return isinstance(data, LongData | WideData) and data.difference
