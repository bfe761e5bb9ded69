"""The figures by groups are those of all pairs, one by one."""

import math

import pytest
import torch

from models.pair_head import PairHead
from models.pair_scores import PairScores
from pipelines.graph_task.grouped_metrics import mean_reciprocal_rank, score_grouped
from pipelines.link_metrics import score_step

N = 12


@pytest.mark.parametrize("seed", range(10))
@torch.no_grad()
def test_a_step_by_groups_is_the_step_by_all_pairs(seed: int) -> None:
    torch.manual_seed(seed)
    scores = PairScores(PairHead(2, 4), torch.randn(4, 2), torch.randint(4, (N,)))
    links = torch.randint(N, (2, 15))
    found, expected = score_grouped(scores, links), score_step(scores, links, N)
    assert found.average_precision == pytest.approx(expected.average_precision, abs=1e-12)
    assert found.unfiltered == pytest.approx(expected.unfiltered, abs=1e-12)
    assert found.filtered == pytest.approx(expected.filtered, abs=1e-12)
    assert (found.pairs, found.links, found.sampling) == (expected.pairs, expected.links, expected.sampling)


@pytest.mark.parametrize("seed", range(10))
@torch.no_grad()
def test_the_reciprocal_rank_of_known_nodes_is_that_of_a_graph_of_them_alone(seed: int) -> None:
    torch.manual_seed(seed)
    head, h, place, links = PairHead(2, 4), torch.randn(4, 2), torch.randint(4, (2 * N,)), torch.randint(N, (2, 15))
    alone, wider = PairScores(head, h, place[:N]), PairScores(head, h, place)
    expected = score_grouped(alone, links).unfiltered.expected
    assert mean_reciprocal_rank(alone, links) == pytest.approx(expected, abs=1e-12)
    assert mean_reciprocal_rank(wider, links, torch.arange(N)) == pytest.approx(expected, abs=1e-12)
    assert mean_reciprocal_rank(wider, links) < expected - 0.01


@torch.no_grad()
def test_a_step_without_links_has_no_figure() -> None:
    scores = PairScores(PairHead(2, 4), torch.randn(4, 2), torch.randint(4, (N,)))
    none = torch.empty(2, 0, dtype=torch.int64)
    assert math.isnan(score_grouped(scores, none).average_precision)
    assert math.isnan(mean_reciprocal_rank(scores, none))
