"""What of an audit is fixed before anything is trained, and what came out.

The number of guesses is part of the design: taking the best of five raises the false alarms from 4 to 13 in a hundred,
so whoever wants to look at several says so, and the chance of a false alarm is divided among them.
"""

import hashlib
import math
from dataclasses import asdict, dataclass
from typing import Literal

from pipelines.privacy.audit.bound import Verdict, ceiling, lower_bound, two_world_bound, verdict
from pipelines.privacy.mechanisms import Unit

Kind = Literal["one-run", "white-box"]


@dataclass(frozen=True)
class Design:
    """An audit as it is written down before training. Raises ValueError for one that could not be carried out."""

    unit: Unit  # what one canary is
    canaries: int  # m
    guesses: int  # r, even
    delta: float  # that of the claim
    score: str  # in words
    seed_hash: str  # of the coins and canaries: `hash_of_seed`
    canary_hash: str  # of the canaries themselves
    p: float = 0.05  # chance of a false alarm
    tries: int = 1  # how many bounds will be looked at; p is divided among them
    kind: Kind = "one-run"

    def __post_init__(self) -> None:
        if self.guesses % 2 or not 0 < self.guesses <= self.canaries:
            raise ValueError(
                f"{self.guesses} guesses about {self.canaries} canaries can't be half in and half out; "
                "fix an even number, at most one a canary"
            )
        if not 0 < self.p < 1 or self.tries < 1:
            raise ValueError(
                f"p is {self.p} over {self.tries} tries; p lies between 0 and 1 and is tried at least once"
            )
        if not 0 <= self.delta < 1:
            raise ValueError(f"delta is {self.delta}; take that of the claim, between 0 and 1")

    @property
    def level(self) -> float:
        """The chance of a false alarm that one bound may have."""
        return self.p / self.tries

    @property
    def ceiling(self) -> float:
        """The largest epsilon this audit could refute."""
        return ceiling(m=self.canaries, r=self.guesses, delta=self.delta, p=self.level)

    def record(self: "AnyDesign") -> dict[str, str]:
        """For the ledger: text only, numbers exact."""
        return {name: value if isinstance(value, str) else repr(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class TwoWorldDesign:
    """A test of many releases (or trainings) with one canary unit and as many without it."""

    unit: Unit
    trials: int  # of each world
    rehearsals: int  # of each world, on which the threshold alone is fixed
    delta: float
    score: str
    seed_hash: str
    canary_hash: str
    p: float = 0.05
    tries: int = 1  # how many bounds will be looked at; p is divided among them
    kind: Literal["two-world"] = "two-world"

    def __post_init__(self) -> None:
        if self.trials < 1 or self.rehearsals < 1:
            raise ValueError(f"{self.trials} trials and {self.rehearsals} rehearsals; at least one of each is needed")
        if not 0 < self.p < 1 or not 0 <= self.delta < 1 or self.tries < 1:
            raise ValueError(
                f"p is {self.p} and delta {self.delta}; both lie between 0 and 1, and p is tried once or more"
            )

    @property
    def level(self) -> float:
        return self.p / self.tries

    @property
    def ceiling(self) -> float:
        """The largest epsilon this test could refute."""
        return two_world_bound(
            trials=self.trials, true_positives=self.trials, false_positives=0, delta=self.delta, p=self.level
        )

    record = Design.record


AnyDesign = Design | TwoWorldDesign


@dataclass(frozen=True)
class Outcome:
    """What an audit found, for one design and one claim."""

    design: AnyDesign
    evidence: dict[str, int]  # what the bound was worked out from
    bound: float  # epsilon, holds with confidence 1 - p
    claim: float | None  # the claimed epsilon, same unit and delta; None: nothing is claimed

    @property
    def ceiling(self) -> float:
        return self.design.ceiling

    @property
    def correct(self) -> int:
        """Right guesses, of both worlds together where there are two."""
        if isinstance(self.design, TwoWorldDesign):
            return self.evidence["true_positives"] + self.design.trials - self.evidence["false_positives"]
        return self.evidence["correct"]

    @property
    def verdict(self) -> Verdict:
        claim = float("inf") if self.claim is None else self.claim
        return verdict(self.bound, claim, ceiling=self.ceiling)

    @property
    def sentence(self) -> str:
        """For people: what was refuted or not, and what a bound is worth."""
        sure = f"{100 * (1 - self.design.p):g} %"
        held = f"a lower bound of {rounded_down(self.bound)} holds with {sure} confidence"
        held += f" (with the {self.design.tries} bounds of this audit together)" if self.design.tries > 1 else ""
        whose = f"{UNIT_WORDS[self.design.unit]}, delta = {self.design.delta:.3g}"
        if self.claim is None:
            return f"Nothing is claimed; {held} for epsilon ({whose})."
        claimed = f"the claim of epsilon {self.claim:.4g} ({whose})"
        if self.verdict == "violated":
            return f"Refutes {claimed}: {held}."
        if self.verdict == "vacuous":
            return (
                f"Says nothing about {claimed}: even with every guess right this audit reaches only "
                f"{rounded_down(self.ceiling)}; {held}."
            )
        return f"Does not refute {claimed}, and does not prove it: {held}."


UNIT_WORDS: dict[Unit, str] = {
    "trip": "of one trip",
    "window": "of one training window",
    "slot": "of one time slot",
    "user_day": "of one person's day",
    "user_week": "of one person's week",
    "user": "of one person",
}


def rounded_down(epsilon: float) -> str:
    """Three decimals, never more than was shown: the other way round than a claim."""
    return f"{math.floor(epsilon * 1000 + 1e-9) / 1000:.3f}"


def judge(design: Design, correct: int, *, claim: float | None) -> Outcome:
    """The outcome of a one-run audit with `correct` right guesses."""
    found = lower_bound(m=design.canaries, r=design.guesses, v=correct, delta=design.delta, p=design.level)
    return Outcome(design, {"correct": correct}, bound=found, claim=claim)


def hash_of_seed(seed: int) -> str:
    """Commits to the coins before training; take a seed too large to be guessed (`secrets.randbits`)."""
    return hashlib.sha256(f"flockcast audit seed {seed}".encode()).hexdigest()
