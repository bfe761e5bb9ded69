"""Scores by groups of equal nodes, against every pair by itself."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from models import pair_scores
from models.link_memory import FEATURES, LinkMemory
from models.pair_head import PairHead
from models.pair_scores import PairScores, odds, stacked

N = 9


def case(seed: int, *, remembers: bool, symmetric: bool = False):
    """Four distinct embeddings among nine nodes, and three steps of memory."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    memory = LinkMemory(N, window=2)
    for _ in range(3):
        memory.update(torch.randint(N, (2, 5), generator=generator))
    head = PairHead(3, 5, features=len(FEATURES) if remembers else 0, symmetric=symmetric)
    h = torch.randn(5, 3, generator=generator)
    h[4] = h[1]  # equal, though not the same row
    place = torch.randint(5, (N,), generator=generator)
    links = torch.randint(N, (2, 6), generator=generator)
    return head, h, place, memory if remembers else None, links


def one_by_one(head, h, place, memory):
    """[N, N]"""
    pairs = torch.cartesian_prod(torch.arange(N), torch.arange(N)).T
    features = None if memory is None else memory.features(pairs)
    return odds(head(h, place[pairs], features)).view(N, N)


@settings(deadline=None)
@given(seed=st.integers(0, 99), remembers=st.booleans(), symmetric=st.booleans())
@torch.no_grad()
def test_every_pair_has_the_score_that_it_has_by_itself(seed, remembers, symmetric):
    head, h, place, memory, links = case(seed, remembers=remembers, symmetric=symmetric)
    expected = one_by_one(head, h, place, memory)
    scores = PairScores(head, h, place, memory)
    rows = torch.tensor([7, 0, 3, 7])
    torch.testing.assert_close(scores(rows), expected[rows], rtol=0, atol=1e-5)
    torch.testing.assert_close(scores.at(links), expected[links[0], links[1]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kept", [0, 2**25])  # blocks worked out again, and blocks kept
@pytest.mark.parametrize("remembers", [False, True])
@torch.no_grad()
def test_average_precision_and_ranks_are_those_of_all_pairs(monkeypatch, kept, remembers):
    monkeypatch.setattr(pair_scores, "KEPT", kept)
    monkeypatch.setattr(pair_scores, "BLOCK", 30)  # blocks of one or two groups
    for seed in range(20):
        head, h, place, memory, links = case(seed, remembers=remembers)
        scores = PairScores(head, h, place, memory)
        dense = scores(torch.arange(N))  # of this very object: equal scores stay equal
        links = links[:, (links[0] * N + links[1]).argsort()]
        truth = torch.zeros(N, N).index_put_((links[0], links[1]), torch.ones(6))
        expected = average_precision_score(truth.flatten().numpy(), dense.flatten().numpy())
        assert scores.average_precision(links) == pytest.approx(expected, abs=1e-9)
        above, tied = scores.rank(links)
        own = dense[links[0], links[1], None]
        assert torch.equal(above, (dense[links[0]] > own).sum(1))
        assert torch.equal(tied, (dense[links[0]] == own).sum(1))


@pytest.mark.parametrize("remembers", [False, True])
@torch.no_grad()
def test_among_known_nodes_the_figures_are_those_of_their_pairs_alone(remembers):
    """The others are as numerous as they, and have neither links nor a memory."""
    for seed in range(20):
        head, h, place, memory, links = case(seed, remembers=remembers)
        place = torch.cat([place, torch.randint(len(h), (N,), generator=torch.Generator().manual_seed(seed))])
        if memory is not None:
            wider = LinkMemory(2 * N)
            wider.update(memory.seen_pairs())
            memory = wider
        scores, known = PairScores(head, h, place, memory), torch.arange(N)
        links = links[:, (links[0] * 2 * N + links[1]).argsort()]
        dense = scores(known)[:, :N]
        truth = torch.zeros(N, N).index_put_((links[0], links[1]), torch.ones(6))
        expected = average_precision_score(truth.flatten().numpy(), dense.flatten().numpy())
        assert scores.average_precision(links, known) == pytest.approx(expected, abs=1e-9)
        above, tied = scores.rank(links, known)
        own = dense[links[0], links[1], None]
        assert torch.equal(above, (dense[links[0]] > own).sum(1))
        assert torch.equal(tied, (dense[links[0]] == own).sum(1))


@torch.no_grad()
def test_equal_nodes_form_one_group_unless_their_activity_differs():
    head, h, place, memory, _ = case(3, remembers=True)
    assert len(PairScores(PairHead(3, 5), h, place).size) == len(h[place].unique(dim=0))
    assert len(PairScores(head, h, place, memory).size) > len(h[place].unique(dim=0))


@settings(deadline=None)
@given(seed=st.integers(0, 99), power=st.sampled_from([0.0, 0.3, 1.0]), both_ways=st.booleans())
@torch.no_grad()
def test_a_stacked_score_is_the_rule_times_the_odds_to_the_power(seed, power, both_ways):
    head, h, place, memory, links = case(seed, remembers=True)
    log_odds = one_by_one(head, h, place, memory).double()
    if both_ways:
        seen = torch.zeros(N, N, dtype=torch.bool).index_put_(tuple(memory.seen_pairs()), torch.tensor(True))
        log_odds = torch.where(seen, (log_odds + log_odds.T) / 2, log_odds)
    rule = memory.repeat_and_activity(torch.arange(N))
    scores = PairScores(head, h, place, memory, power=power, both_ways=both_ways)
    torch.testing.assert_close(scores(torch.arange(N)), rule * log_odds.exp() ** power, rtol=1e-5, atol=0)
    torch.testing.assert_close(scores.at(links), scores(torch.arange(N))[links[0], links[1]], rtol=0, atol=0)


@settings(deadline=None)
@given(seed=st.integers(0, 99))
@torch.no_grad()
def test_at_power_zero_the_score_is_the_rule_to_the_last_bit(seed):
    head, h, place, memory, links = case(seed, remembers=True)
    scores = PairScores(head, h, place, memory, power=0.0, both_ways=True)
    rule = memory.repeat_and_activity(torch.arange(N))
    assert torch.equal(scores(torch.arange(N)), rule)
    links = links[:, (links[0] * N + links[1]).argsort()]
    own = rule[links[0], links[1], None]
    above, tied = scores.rank(links)
    assert torch.equal(above, (rule[links[0]] > own).sum(1))
    assert torch.equal(tied, (rule[links[0]] == own).sum(1))


@torch.no_grad()
def test_a_link_without_a_direction_has_one_score_both_ways():
    head, h, place, _, links = case(3, remembers=True)
    memory = LinkMemory(N)
    memory.update(torch.cat([links, links.flip(0)], dim=1))
    pairs = memory.seen_pairs()
    one, each = (PairScores(head, h, place, memory, power=1.0, both_ways=both) for both in (True, False))
    shared = memory.repeat_and_activity_at(pairs) == memory.repeat_and_activity_at(pairs.flip(0))
    alike = pairs[:, shared & (pairs[0] != pairs[1])]
    assert alike.shape[1] > 0
    assert torch.equal(one.at(alike), one.at(alike.flip(0)))
    assert not torch.equal(each.at(alike), each.at(alike.flip(0)))


@pytest.mark.parametrize("kept", [0, 2**25])
@torch.no_grad()
def test_a_power_set_anew_gives_the_scores_of_an_object_made_with_it(monkeypatch, kept):
    monkeypatch.setattr(pair_scores, "KEPT", kept)
    head, h, place, memory, links = case(5, remembers=True)
    links = links[:, (links[0] * N + links[1]).argsort()]
    scores = PairScores(head, h, place, memory, power=0.0)
    for power in (3.0, 0.0, 0.1):
        scores.power = power
        fresh = PairScores(head, h, place, memory, power=power)
        assert torch.equal(scores(torch.arange(N)), fresh(torch.arange(N)))
        assert scores.average_precision(links) == fresh.average_precision(links)
        assert all(torch.equal(a, b) for a, b in zip(scores.rank(links), fresh.rank(links), strict=True))


def test_no_odds_are_too_large_for_a_number():
    rule = torch.tensor([1.0, 1e-9], dtype=torch.float64)
    assert bool(stacked(rule, torch.tensor([500.0, -500.0]), 10.0).isfinite().all())
    assert bool((stacked(rule, torch.tensor([500.0, -500.0]), 10.0) > 0).all())
