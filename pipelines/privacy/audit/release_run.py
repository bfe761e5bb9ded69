"""Audit the release of a spec with the code that makes it, on persons who do not exist.

A release treats nobody otherwise for who else is there, so its bounding, counting and noise can be audited without a
single real person: on some periods of synthetic ones. That reads no data, keeps nothing and costs no budget. Counts
without persons have their noise audited alone.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.privacy.audit.booking import audited
from pipelines.privacy.audit.canaries import Coins, canary_hash
from pipelines.privacy.audit.design import Design, Outcome, TwoWorldDesign, hash_of_seed
from pipelines.privacy.audit.one_run import audit_training
from pipelines.privacy.audit.release_audit import audit_noise
from pipelines.privacy.audit.report import Report
from pipelines.privacy.audit.user_canaries import EXCESS, UserCanaries, those_in, user_canaries
from pipelines.privacy.audit.window_audit import new_seed
from pipelines.privacy.claim import Claim
from pipelines.privacy.mechanisms import GeometricRelease
from pipelines.privacy.release.charging import Draw
from pipelines.privacy.release.counting import count
from pipelines.privacy.release.domain import Domain, domain_of
from pipelines.privacy.release.drawing import Release, mechanism_of, noisy
from pipelines.privacy.spec import ReleasePrivacy
from pipelines.sources import sources_of
from pipelines.spec import Spec, TripData

ROOM = 4  # cells for each cell of a person's pattern: persons in the same cells hide each other
TRIALS = REHEARSALS = 10_000
BOUNDS = 2  # looked at in one audit, so each may err half as often

Say = Callable[[str], None]


def audit_release(spec: Spec, privacy: ReleasePrivacy, *, canaries: int, guesses: int, say: Say) -> Report:
    """Two bounds: by persons among raw trips, where the data are trips, and by ten thousand draws of the noise."""
    domain = domain_of(spec, privacy)
    draw = _draw(domain)
    claim = draw.claim
    book = audited(spec, claimed=claim.sentence)
    outcomes: list[Outcome] = []
    say(f"drawing the noise {2 * (TRIALS + REHEARSALS):,} times")
    plan = _noise_design(privacy, new_seed())
    book.design(plan)
    outcomes.append(_audit_noise(plan, draw.mechanism, claim))
    book.result(outcomes[-1])
    if isinstance(spec.data, TripData):
        say(f"releasing {canaries:,} synthetic persons")
        seed = new_seed()
        persons = Persons(_shortened(domain, canaries), canaries=canaries, seed=seed)
        design = persons.design(guesses=guesses, seed=seed)
        book.design(design)
        outcomes.append(
            audit_training(design, seed=seed, train=persons.released, score=persons.score, claim=claim.epsilon)
        )
        book.result(outcomes[-1])
    return Report(spec.name, "release", book.run_id, claim.sentence, tuple(outcomes))


class Persons:
    """Canaries of the unit of `domain`, and what becomes of them in a release."""

    def __init__(self, domain: Domain, *, canaries: int, seed: int) -> None:
        self.domain, privacy = domain, domain.privacy
        units = [[t.to_pydatetime() for t in domain.index[domain.periods == one]] for one in domain.revisions]
        is_trip = privacy.unit == "trip"
        self.canaries = user_canaries(
            canaries,
            units=units,
            zones=list(domain.nodes),
            trips_per_unit=1 if is_trip else privacy.trips_per_unit or 1,
            trips_per_cell=1 if is_trip else privacy.trips_per_cell,
            excess=1 if is_trip else EXCESS,
            seed=seed,
        )

    def design(self, *, guesses: int, seed: int) -> Design:
        return Design(
            unit=self.domain.privacy.unit,
            canaries=len(self.canaries.cells),
            guesses=guesses,
            delta=self.domain.privacy.delta,
            score="sum of the released cells of the person's pattern",
            seed_hash=hash_of_seed(seed),
            canary_hash=canary_hash(self.canaries.cells),
            tries=BOUNDS,
        )

    def released(self, coins: Coins) -> npt.NDArray[np.float64]:
        """Cells [T, N, K] of the persons that are in, by the steps of a real release."""
        with tempfile.TemporaryDirectory() as scratch:
            domain = replace(self.domain, spec=self._spec(Path(scratch), coins))
            drawn = np.ones(len(domain.index), dtype=bool)
            counts = count(domain, sources_of(domain.spec), drawn)
        return noisy(counts, domain.mask, mechanism_of(domain.privacy, domain.sensitivity(drawn)))

    def score(self, cells: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return cells.ravel()[_pattern(self.canaries, self.domain)].sum(axis=1)

    def _spec(self, folder: Path, coins: Coins) -> Spec:
        spec = self.domain.spec
        assert isinstance(spec.data, TripData)
        columns = spec.data.columns
        names = {"start": columns.start, "end": columns.end, "source": columns.source, "target": columns.target}
        if self.domain.privacy.person:
            names["person"] = self.domain.privacy.person
        file = folder / "canaries.parquet"
        those_in(self.canaries, coins).select(list(names)).rename(names).write_parquet(file)
        return spec.model_copy(update={"data": spec.data.model_copy(update={"files": str(file)})})


def _pattern(canaries: UserCanaries, domain: Domain) -> npt.NDArray[np.int64]:
    """The numbers of the released cells of each person, [m, K]."""
    nodes = len(domain.nodes)
    step, source, target = np.unravel_index(canaries.cells, (len(domain.index), nodes, nodes))
    if domain.counts == "flows":
        return canaries.cells
    shape = domain.mask.shape
    reached = np.ravel_multi_index((step, target, np.zeros_like(step)), shape)
    left = np.ravel_multi_index((step, source, np.ones_like(step)), shape)
    return np.concatenate([reached, left], axis=1)


def _shortened(domain: Domain, canaries: int) -> Domain:
    """Its first periods, as many as give the canaries room; beginning and end as whole as they were."""
    periods = list(domain.revisions)
    each = domain.mask[domain.steps_in(periods[:1])].sum()  # cells of a period
    wanted = ROOM * canaries * 2 * (domain.privacy.trips_per_unit or 1)
    steps = domain.steps_in(periods[: max(2, math.ceil(wanted / each))])
    if steps.all():
        return domain
    end = domain.index[int(steps.sum())].to_pydatetime()
    data = domain.spec.data.model_copy(update={"end": end})
    return domain_of(domain.spec.model_copy(update={"data": data}), domain.privacy)


def _draw(domain: Domain) -> Draw:
    """What a first release of everything would be."""
    mechanism = mechanism_of(domain.privacy, domain.sensitivity(np.ones(len(domain.index), dtype=bool)))
    return Draw(domain, tuple(domain.revisions), mechanism, sources_of(domain.spec))


def _noise_design(privacy: ReleasePrivacy, seed: int) -> TwoWorldDesign:
    return TwoWorldDesign(
        unit=privacy.unit,
        trials=TRIALS,
        rehearsals=REHEARSALS,
        delta=privacy.delta,
        tries=BOUNDS,
        score="released counts of a few cells, weighed by what the unit changes",
        seed_hash=hash_of_seed(seed),
        canary_hash=hash_of_seed(seed),
    )


def _audit_noise(design: TwoWorldDesign, mechanism: Release, claim: Claim) -> Outcome:
    """A few cells that change as far as the norm lets all cells together: of either noise that is the worst case."""
    change = _as_far_as(mechanism)

    def noise(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return noisy(counts, np.ones(counts.shape, dtype=bool), mechanism).astype(np.int64)

    without = np.zeros_like(change)
    return audit_noise(design, noise=noise, without=without, change=change, claim=claim.epsilon)


def _as_far_as(mechanism: Release) -> npt.NDArray[np.int64]:
    """Whole numbers whose norm is the sensitivity: the number itself (L1), or squares that add up to its square."""
    if isinstance(mechanism, GeometricRelease):
        return np.array([int(mechanism.sensitivity)])
    left, parts = round(mechanism.sensitivity**2), []
    while left:
        parts.append(math.isqrt(left))
        left -= parts[-1] ** 2
    return np.array(parts)
