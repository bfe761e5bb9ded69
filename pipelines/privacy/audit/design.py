"""What of an audit is fixed before anything is trained, and what came out.

The number of guesses is part of the design: taking the best of five raises the false alarms from 5 to 13 in a hundred,
so whoever wants to look at several says so, and the chance of a false alarm is divided among them.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Literal

from pipelines.privacy.audit.bound import Verdict, ceiling, lower_bound, verdict
from pipelines.privacy.mechanisms import Unit

Kind = Literal["one-run", "white-box", "two-world"]


@dataclass(frozen=True)
class Design:
    """An audit as it is written down before training. Raises ValueError for one that could not be carried out."""

    unit: Unit  # what one canary is
    canaries: int  # m; of a two-world test, the trials of each world
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

    def record(self) -> dict[str, str]:
        """For the ledger: text only, numbers exact."""
        return {name: value if isinstance(value, str) else repr(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Outcome:
    """What an audit found, for one design and one claim."""

    design: Design
    correct: int  # v
    bound: float  # epsilon, holds with confidence 1 - p
    ceiling: float  # the bound if every guess had been right
    claim: float | None  # the claimed epsilon, same unit and delta; None: nothing is claimed

    @property
    def verdict(self) -> Verdict:
        claim = float("inf") if self.claim is None else self.claim
        return verdict(self.bound, claim, ceiling=self.ceiling)


def judge(design: Design, correct: int, *, claim: float | None) -> Outcome:
    """The outcome of a one-run audit with `correct` right guesses."""
    found = lower_bound(m=design.canaries, r=design.guesses, v=correct, delta=design.delta, p=design.level)
    return Outcome(design, correct=correct, bound=found, ceiling=design.ceiling, claim=claim)


def hash_of_seed(seed: int) -> str:
    """Commits to the coins before training; take a seed too large to be guessed (`secrets.randbits`)."""
    return hashlib.sha256(f"flockcast audit seed {seed}".encode()).hexdigest()
