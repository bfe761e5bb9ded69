"""Drawn pairs are never links, and a seed draws them again."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.negatives import OVERSAMPLING, Negatives, smart_negatives, uniform_negatives


def links(nodes: int, count: int, seed: int) -> Tensor:
    return torch.randint(nodes, (2, count), generator=torch.Generator().manual_seed(seed))


def draw(kind: str, positives: Tensor, nodes: int, *, multiplier: int = 3, seed: int = 0) -> Negatives:
    generator = torch.Generator().manual_seed(seed)
    if kind == "uniform":
        return uniform_negatives(positives, nodes, multiplier=multiplier, generator=generator)
    return smart_negatives(positives, torch.arange(nodes), multiplier=multiplier, generator=generator)


def one_by_one(positives: Tensor, active: Tensor, *, multiplier: int, seed: int) -> list[tuple[int, int]]:
    """The released code's loop over the same draws."""
    wanted = multiplier * positives.shape[1]
    generator = torch.Generator().manual_seed(seed)
    picks = [torch.randint(len(ids), (OVERSAMPLING * wanted,), generator=generator) for ids in (positives[0], active)]
    taken, kept = {tuple(pair) for pair in positives.T.tolist()}, []
    for u, v in zip(positives[0][picks[0]].tolist(), active[picks[1]].tolist(), strict=True):
        if u != v and (u, v) not in taken and len(kept) < wanted:
            kept.append((u, v))
            taken.add((u, v))
    return kept


@pytest.mark.parametrize("kind", ["smart", "uniform"])
@settings(deadline=None)
@given(nodes=st.integers(1, 12), count=st.integers(0, 30), multiplier=st.integers(1, 5), seed=st.integers(0, 99))
def test_no_link_no_self_pair_and_no_repeat_is_drawn_and_what_is_missing_is_reported(
    kind: str, nodes: int, count: int, multiplier: int, seed: int
) -> None:
    positives = links(nodes, count, seed)
    drawn = draw(kind, positives, nodes, multiplier=multiplier, seed=seed)
    pairs = [tuple(pair) for pair in drawn.pairs.T.tolist()]
    assert len(set(pairs)) == len(pairs)
    assert not set(pairs) & {tuple(pair) for pair in positives.T.tolist()}
    assert all(u != v for u, v in pairs)
    assert len(pairs) + drawn.shortfall == multiplier * count


@settings(deadline=None)
@given(nodes=st.integers(1, 12), count=st.integers(1, 30), multiplier=st.integers(1, 5), seed=st.integers(0, 99))
def test_smart_pairs_are_those_of_a_loop_that_keeps_what_comes_first(
    nodes: int, count: int, multiplier: int, seed: int
) -> None:
    positives, active = links(nodes, count, seed), links(nodes, 20, seed + 1)[0]
    generator = torch.Generator().manual_seed(seed)
    drawn = smart_negatives(positives, active, multiplier=multiplier, generator=generator)
    expected = one_by_one(positives, active, multiplier=multiplier, seed=seed)
    assert [tuple(pair) for pair in drawn.pairs.T.tolist()] == expected


@pytest.mark.parametrize("kind", ["smart", "uniform"])
def test_a_seed_draws_the_same_pairs_again_and_another_seed_does_not(kind: str) -> None:
    positives = links(500, 40, 0)
    first, again, other = (draw(kind, positives, 500, seed=seed).pairs for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_smart_pairs_start_at_sources_of_links_and_end_at_active_nodes_as_often_as_they_are_listed() -> None:
    positives = torch.stack([torch.arange(200), torch.full((200,), 999)])
    active = torch.cat(
        [torch.arange(300, 500), torch.arange(400, 500).repeat(2)]
    )  # the second hundred 3 times as likely
    pairs = smart_negatives(positives, active, multiplier=20, generator=torch.Generator().manual_seed(0)).pairs
    assert set(pairs[0].tolist()) <= set(range(200))
    assert set(pairs[1].tolist()) <= set(range(300, 500))
    share = float((pairs[1] >= 400).double().mean())
    assert 0.70 < share < 0.76  # 3/4, less the repeats skipped; five standard deviations are 0.035


def test_a_full_graph_has_a_shortfall_of_all() -> None:
    everything = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T
    drawn = draw("uniform", everything, 3)
    assert drawn.pairs.shape == (2, 0)
    assert drawn.shortfall == 27


def test_without_an_active_node_nothing_is_drawn_and_the_shortfall_says_so() -> None:
    nobody = torch.empty(0, dtype=torch.int64)
    drawn = smart_negatives(links(5, 4, 0), nobody, multiplier=2, generator=torch.Generator().manual_seed(0))
    assert drawn.pairs.shape == (2, 0)
    assert drawn.shortfall == 8
