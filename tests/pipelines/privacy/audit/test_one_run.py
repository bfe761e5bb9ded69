"""One run is enough: the canaries of the design, guessed by their scores."""

import numpy as np
import pytest

from pipelines.privacy.audit.canaries import flip_coins
from pipelines.privacy.audit.design import Design, hash_of_seed
from pipelines.privacy.audit.one_run import audit_training

SEED = 9
DESIGN = Design(
    unit="window",
    canaries=500,
    guesses=100,
    delta=1e-6,
    score="told",
    seed_hash=hash_of_seed(SEED),
    canary_hash="0" * 64,
)


def test_a_training_that_tells_all_reaches_the_ceiling_and_one_that_tells_nothing_reaches_nothing():
    told = audit_training(DESIGN, seed=SEED, train=lambda coins: coins, score=lambda coins: 1.0 * coins, claim=1.0)
    assert told.verdict == "violated"
    assert told.bound == told.ceiling
    assert told.evidence == {"correct": 100}
    silent = audit_training(
        DESIGN,
        seed=SEED,
        train=lambda coins: None,
        score=lambda nothing: np.random.default_rng(1).random(500),
        claim=1.0,
    )
    assert silent.verdict == "consistent"
    assert silent.bound < 0.3


def test_the_coins_are_fair_and_those_of_the_seed():
    coins = flip_coins(10_000, seed=SEED)
    assert abs(coins.mean() - 0.5) < 4 * 0.005  # standard errors
    seen = []
    audit_training(DESIGN, seed=SEED, train=seen.append, score=lambda _: np.arange(500.0), claim=None)
    assert (seen[0] == flip_coins(500, seed=SEED)).all()


def test_another_seed_than_the_registered_one_is_refused():
    with pytest.raises(ValueError, match="not the one this audit was registered with"):
        audit_training(DESIGN, seed=8, train=lambda coins: coins, score=lambda coins: 1.0 * coins, claim=1.0)


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (1.0, "Refutes the claim of epsilon 1 (of one training window, delta = 1e-06): a lower bound of 3.4"),
        (8.0, "Says nothing about the claim of epsilon 8 (of one training window, delta = 1e-06): even with every"),
        (None, "Nothing is claimed; a lower bound of 3.4"),
    ],
)
def test_the_sentence_says_what_was_refuted_and_what_was_not(claim, said):
    outcome = audit_training(DESIGN, seed=SEED, train=lambda coins: coins, score=lambda coins: 1.0 * coins, claim=claim)
    assert outcome.sentence.startswith(said)
    assert "with 95 % confidence" in outcome.sentence
