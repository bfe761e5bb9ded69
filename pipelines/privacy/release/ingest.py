"""The ingest step of a private release: its periods are drawn once, and every later run finds what was drawn.

    reserve -> read and count -> start -> draw -> store under a temporary name -> commit -> give it its name

A period (a local day, say) that a stored release holds is never drawn again: its values are taken over, whatever became
of the files. So where days are appended only these are drawn and charged, and corrected records change a release only
where the spec says `privacy.revised`, which charges these periods anew. Whether files changed follows from rows of
people, so nothing public may depend on it.

A crash after the commit leaves a spend and no release, which is the safe side; before it the ledger's reaper counts the
reservation as spent. A mistake that shows while rows are read gives the reservation back: nothing was drawn.
"""

import fcntl
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from data import store
from data.dataset import DataSet, Manifest
from data.dataset import Release as Told
from data.errors import DataError, StoreProblem
from pipelines import settings
from pipelines.errors import SpecError, StoreError
from pipelines.privacy.claim import Claim, Protection
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.release.charging import Draw
from pipelines.privacy.release.counting import count, require_columns, require_own_times
from pipelines.privacy.release.domain import Domain, domain_of
from pipelines.privacy.release.drawing import consistent, disassembled, drowned, mechanism_of, noisy, variances
from pipelines.privacy.release.periods import told
from pipelines.privacy.release.stored import Kept, joined, keep, kept_for
from pipelines.privacy.remedy import reserve
from pipelines.privacy.spec import ReleasePrivacy
from pipelines.quarantine import keeping_the_reason
from pipelines.sources import sources_of
from pipelines.spec import Spec

Say = Callable[[str], None]


def release_or_reuse(spec: Spec, privacy: ReleasePrivacy, *, fresh: bool, say: Say) -> tuple[DataSet, bool]:
    """The release of `spec`, drawn now or before, and whether it was before.

    Raises SpecError where the spec does not fit together or `fresh` asks for a second draw, DataError for data that
    can't be counted, BudgetRefused, and StoreError where a stored release can't be read: it is not drawn again.
    """
    if fresh:
        raise SpecError(
            "a release is drawn once: the same counts with fresh noise would be a second spend, and the mean of both "
            "protects less. Where records were corrected, name their periods in privacy.revised"
        )
    domain = domain_of(spec, privacy)
    with _alone(domain):
        kept = kept_for(domain)
        missing = kept.missing
        if kept.whole is not None:
            found = kept.whole
            say(
                f"release {spec.name}/{found.manifest.version}: drawn before, re-used; the files are not read, and "
                "nothing is spent"
            )
        elif not missing:
            found = keep(domain, kept.cells, lambda version: _manifest(domain, version, kept.told))
            say(f"release {spec.name}/{found.manifest.version}: of periods that were drawn before; nothing is spent")
        else:
            found = _drawn(domain, kept, missing, say)
    if warning := drowned(disassembled(found.panel, found.flows), _noise_std(found)):
        say(warning)
    return found, not missing


def next_draw(domain: Domain, kept: Kept) -> Draw:
    """What would be drawn now: every period that no stored release holds."""
    mechanism = mechanism_of(domain.privacy, domain.sensitivity(domain.steps_in(kept.missing)))
    return Draw(domain, tuple(kept.missing), mechanism, sources_of(domain.spec))


def _drawn(domain: Domain, kept: Kept, missing: list[str], say: Say) -> DataSet:
    draw, ledger, steps = next_draw(domain, kept), Ledger.open(), domain.steps_in(missing)
    charge = draw.charge()
    reserve(ledger, charge)
    began = time.monotonic()
    try:
        require_columns(domain, draw.sources)
        require_own_times(domain, draw.sources)
        counts = keeping_the_reason(domain.spec, draw.sources, lambda: count(domain, draw.sources, steps))
        _require_unchanged(domain, draw)
    except BaseException:
        ledger.release(charge.run_id)
        raise
    ledger.start(charge.run_id, sources=charge.sources)
    cells = consistent(noisy(counts, domain.mask & steps[:, None, None], draw.mechanism), domain)
    whole = np.where(steps[:, None, None], cells, kept.cells)

    def settle(version: str) -> Manifest:
        entry = ledger.commit(charge.run_id, artifact_hash=version)
        protection = Protection(_joint(draw, kept), entry.seq, entry.hash, charge.run_id, "released_input")
        new = Told(protection.to_json(), variances(domain, draw.mechanism), domain.revisions, [charge.run_id])
        together = joined(new, kept.told) if kept.told else new
        return _manifest(domain, version, replace(together, protection=new.protection))

    found = keep(domain, whole, settle)
    say(f"released {told(missing)} in {time.monotonic() - began:.1f} s: {_protection(found).claim.sentence}")
    say(f"charged to data set {domain.data_set!r} of the ledger, run {charge.run_id}")
    return found


def _require_unchanged(domain: Domain, draw: Draw) -> None:
    """Raises DataError where the ledger would have other files than were read, and so could not know them again."""
    if sources_of(domain.spec).of_rows != draw.sources.of_rows:
        raise DataError("the files changed while they were read; nothing was drawn and nothing spent: ingest again")


def _joint(draw: Draw, kept: Kept) -> Claim:
    """Each period has one draw; of all of them the one that promises least speaks for the release."""
    claims = [draw.claim, *([Protection.from_json(kept.told.protection).claim] if kept.told else [])]
    return max(claims, key=lambda claim: claim.epsilon)


def _manifest(domain: Domain, version: str, release: Told | None) -> Manifest:
    """Nothing in it follows from rows of people: how many there were, which were wrong and what they hash to is not
    told, here or later."""
    assert release is not None
    data, index = domain.spec.data, domain.index
    return Manifest(
        name=domain.spec.name,
        version=version,
        sources=dict.fromkeys(sources_of(domain.spec).hashes, ""),
        rows_read=0,
        rows_used=0,
        rejected={},
        notes={},
        source_columns={},
        span=(index[0].isoformat(), index[-1].isoformat()),
        interval=data.interval,
        timezone=data.timezone,
        nodes=len(domain.nodes),
        variables=list(domain.variables),
        observed_share=float(domain.mask.mean()),
        origin=data.origin,
        licence=data.licence,
        recipe=domain.recipe,
        release=replace(release, periods=domain.revisions),
    )


def _noise_std(dataset: DataSet) -> float:
    """Of one released cell: the flow of a pair, or a value of a variable."""
    assert dataset.manifest.release is not None
    return math.sqrt(min(dataset.manifest.release.variance.values()))


def _protection(dataset: DataSet) -> Protection:
    assert dataset.manifest.release is not None
    return Protection.from_json(dataset.manifest.release.protection)


@contextmanager
def _alone(domain: Domain) -> Iterator[None]:
    """Two runs at once would draw twice and pay twice; the second waits, and finds what the first has drawn."""
    file = settings.home() / "locks" / f"{domain.recipe}.lock"
    try:
        with store.told_plainly(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = file.open("w")
    except StoreProblem as problem:
        raise StoreError(str(problem)) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
