"""Audit a training by one run: some canaries are in it, and whoever scores them guesses which.

Written down first, carried out once: the design holds a hash of the seed, so neither coins nor canaries can be chosen
after the training was seen.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy.typing as npt

from pipelines.privacy.audit.bound import correct_guesses
from pipelines.privacy.audit.canaries import Coins, flip_coins
from pipelines.privacy.audit.design import Design, Outcome, hash_of_seed, judge

T = TypeVar("T")


def audit_training(
    design: Design,
    *,
    seed: int,
    train: Callable[[Coins], T],
    score: Callable[[T], npt.NDArray],
    claim: float | None,
) -> Outcome:
    """Train once with the canaries that the coins chose, score all of them [m], and judge the guesses.

    `train` may give anything, a network or a release. `score` must not see the coins. Raises ValueError where the seed
    is not that of the design.
    """
    if hash_of_seed(seed) != design.seed_hash:
        raise ValueError("the seed is not the one this audit was registered with; its coins would not be the same")
    included = flip_coins(design.canaries, seed=seed)
    scores = score(train(included))
    return judge(design, correct_guesses(scores, included, r=design.guesses), claim=claim)
