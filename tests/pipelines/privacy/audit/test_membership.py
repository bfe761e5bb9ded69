"""Membership inference finds the members of an overfitted regression, and nobody in one that treats all alike."""

import numpy as np
import pytest

from pipelines.privacy.audit.membership import lira, risk, rmia

SAMPLES, REFERENCES, POPULATION = 400, 24, 300


def _losses_of_regressions(*, features: int, seed: int = 2):
    """Ridge regressions on random halves: losses [1 + K, S], who was in which, and losses of others [1 + K, Z]."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=features) / np.sqrt(features)
    x = rng.normal(size=(SAMPLES + POPULATION, features))
    y = x @ truth + rng.normal(size=len(x))
    members = rng.random((1 + REFERENCES, SAMPLES)) < 0.5
    losses = np.empty((1 + REFERENCES, len(x)))
    for i, chosen in enumerate(members):
        own, target = x[:SAMPLES][chosen], y[:SAMPLES][chosen]
        weights = np.linalg.solve(own.T @ own + 0.1 * np.eye(features), own.T @ target)
        losses[i] = (y - x @ weights) ** 2
    return losses[:, :SAMPLES], members, losses[:, SAMPLES:]


def _attack(name: str, losses: np.ndarray, members: np.ndarray, others: np.ndarray) -> np.ndarray:
    if name == "lira":
        return lira(losses[0], losses[1:], members[1:], tau=1.0)
    return rmia(losses[0], losses[1:], members[1:], population=others[0], population_reference=others[1:], tau=1.0)


@pytest.mark.parametrize("attack", ["lira", "rmia"])
@pytest.mark.parametrize(("features", "lowest", "highest"), [(190, 0.9, 1.0), (2, 0.40, 0.60)])
def test_members_of_an_overfitted_network_are_found_and_of_a_simple_one_not(attack, features, lowest, highest):
    """400 windows: the standard error of an AUC of one half is 0.03."""
    losses, members, others = _losses_of_regressions(features=features)
    assert lowest <= risk(attack, _attack(attack, losses, members, others), members[0]).auc <= highest


@pytest.mark.parametrize("attack", ["lira", "rmia"])
def test_windows_that_are_hard_by_nature_do_not_hide_the_members(attack):
    """What references are for: the loss alone calls every easy window a member."""
    rng = np.random.default_rng(4)
    members = rng.random((1 + REFERENCES, SAMPLES)) < 0.5
    difficulty = rng.normal(scale=2.0, size=SAMPLES + POPULATION)
    losses = np.exp(difficulty + rng.normal(scale=0.5, size=(1 + REFERENCES, SAMPLES + POPULATION)))
    losses, others = losses[:, :SAMPLES] * np.where(members, 0.5, 1.0), losses[:, SAMPLES:]
    alone = risk("loss", -losses[0], members[0])
    assert risk(attack, _attack(attack, losses, members, others), members[0]).auc > alone.auc + 0.1


def test_rates_and_area_are_those_of_a_count_by_hand():
    members = np.array([True] * 4 + [False] * 1000)
    scores = np.concatenate([[3.0, 2.0, 0.9995, -1.0], np.arange(1000) / 1000])
    found = risk("by hand", scores, members)
    assert found.tpr_at_tenth_percent == 0.75  # one accusation of 1000 is allowed: the cut is the second highest
    assert found.tpr_at_one_percent == 0.75
    wins = [(score > scores[4:]).mean() for score in scores[:4]]
    assert found.auc == pytest.approx(np.mean(wins))


def test_equal_scores_are_a_coin():
    members = np.array([True, False] * 50)
    assert risk("constant", np.zeros(100), members).auc == 0.5
    assert risk("constant", np.zeros(100), members).tpr_at_one_percent == 0


def test_a_window_that_no_reference_had_is_refused():
    members = np.ones((3, 5), dtype=bool)
    with pytest.raises(ValueError, match="in every reference network or in none"):
        lira(np.ones(5), np.ones((3, 5)), members, tau=1.0)
    with pytest.raises(ValueError, match="needs both"):
        risk("all", np.zeros(5), members[0])


def test_few_references_share_one_spread_and_still_find_members():
    losses, members, _ = _losses_of_regressions(features=190)
    enough = list(range(1, 9))
    seen = members[enough].any(axis=0) & ~members[enough].all(axis=0)
    scores = lira(losses[0][seen], losses[enough][:, seen], members[enough][:, seen], tau=1.0)
    assert risk("lira", scores, members[0][seen]).auc > 0.8
