"""Link metrics against scikit-learn, against every order of ties tried one by one, and against what must not matter."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from models.link_memory import LinkMemory
from pipelines.link_metrics import StepScores, mean_over_steps, score_beside_memory, score_sampled_step, score_step

EXACT = {"abs": 1e-12, "rel": 0}
NODES = 5


def table(scores: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda rows: scores[rows]


def coarse(nodes: int, levels: int, seed: int) -> Tensor:
    """Scores with many ties."""
    return torch.randint(levels, (nodes, nodes), generator=torch.Generator().manual_seed(seed)).double()


def some_links(nodes: int, count: int, seed: int) -> Tensor:
    return torch.randint(nodes, (2, count), generator=torch.Generator().manual_seed(seed + 1000))


def by_hand_precision(scores: Tensor, links: set[tuple[int, int]]) -> float:
    """Recall gained at each score, times precision down to it, over all pairs one by one."""
    total, precision = (
        0.0,
        dict(zip(itertools.product(range(len(scores)), repeat=2), scores.flatten().tolist(), strict=True)),
    )
    for level in sorted({precision[link] for link in links}):
        here = [pair for pair, score in precision.items() if score >= level]
        gained = sum(precision[link] == level for link in links) / len(links)
        total += gained * sum(pair in links for pair in here) / len(here)
    return total


def by_hand_ranks(scores: Tensor, links: set[tuple[int, int]], *, filtered: bool) -> tuple[float, float, float]:
    """Mean, least and largest reciprocal rank over every order of equal scores, row by row."""
    rows = []
    for u in sorted({u for u, _ in links}):
        targets = {v for a, v in links if a == u}
        sums = [Fraction(0)] * 3
        if filtered:
            for v in targets:
                others = [w for w in range(len(scores)) if w == v or w not in targets]
                found = orders(scores[u].tolist(), others, {v})
                sums = [total + each for total, each in zip(sums, found, strict=True)]
            rows.append([total / len(targets) for total in sums])
        else:
            rows.append(list(orders(scores[u].tolist(), list(range(len(scores))), targets)))
    return tuple(float(sum(column) / len(rows)) for column in zip(*rows, strict=True))


def orders(row: list[float], columns: list[int], targets: set[int]) -> tuple[Fraction, Fraction, Fraction]:
    values = []
    for order in itertools.permutations(columns):
        if all(row[a] >= row[b] for a, b in itertools.pairwise(order)):
            values.append(sum(Fraction(1, order.index(v) + 1) for v in targets) / len(targets))
    return sum(values) / len(values), min(values), max(values)


@pytest.mark.parametrize("levels", [1, 2, 3, 100])
@pytest.mark.parametrize("seed", range(4))
def test_map_and_mrr_of_five_nodes_are_those_of_every_order_of_ties(levels: int, seed: int) -> None:
    scores, links = coarse(NODES, levels, seed), some_links(NODES, 7, seed)
    pairs = {tuple(pair) for pair in links.T.tolist()}
    found = score_step(table(scores), links, NODES, block_pairs=2 * NODES)
    assert found.average_precision == pytest.approx(by_hand_precision(scores, pairs), **EXACT)
    assert tuple(found.unfiltered) == pytest.approx(by_hand_ranks(scores, pairs, filtered=False), **EXACT)
    assert tuple(found.filtered) == pytest.approx(by_hand_ranks(scores, pairs, filtered=True), **EXACT)


def test_a_constant_score_has_the_share_of_links_as_precision_and_all_ranks_alike() -> None:
    found = score_step(table(torch.zeros(NODES, NODES)), torch.tensor([[0, 0, 3], [1, 2, 3]]), NODES)
    assert found.average_precision == pytest.approx(3 / 25, **EXACT)
    assert found.unfiltered.expected == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 5, **EXACT)
    assert found.unfiltered.upper == pytest.approx(((1 + 1 / 2) / 2 + 1) / 2, **EXACT)
    assert found.unfiltered.lower == pytest.approx(((1 / 4 + 1 / 5) / 2 + 1 / 5) / 2, **EXACT)


@settings(deadline=None)
@given(
    nodes=st.integers(1, 30),
    levels=st.sampled_from([1, 2, 5, 1000]),
    count=st.integers(1, 60),
    rows=st.integers(1, 31),
    seed=st.integers(0, 999),
)
def test_average_precision_is_scikit_learns_whatever_the_blocks(
    nodes: int, levels: int, count: int, rows: int, seed: int
) -> None:
    scores, links = coarse(nodes, levels, seed) - levels // 2, some_links(nodes, count, seed)
    truth = torch.zeros(nodes, nodes, dtype=torch.bool)
    truth[links[0], links[1]] = True
    expected = average_precision_score(truth.flatten().numpy(), scores.flatten().numpy())
    found = score_step(table(scores), links, nodes, block_pairs=rows * nodes)
    assert found.average_precision == pytest.approx(expected, abs=1e-12)
    assert (found.pairs, found.links) == (nodes**2, int(truth.sum()))
    whole = score_step(table(scores), links, nodes)
    assert whole == found


def test_no_more_rows_are_asked_for_than_a_block_holds_and_none_is_left_out() -> None:
    asked = []

    def score(rows: Tensor) -> Tensor:
        asked.append(rows)
        return torch.zeros(len(rows), 50)

    score_step(score, torch.tensor([[0, 49], [1, 2]]), 50, block_pairs=350)
    assert max(len(rows) for rows in asked) == 7
    assert torch.cat(asked[-8:]).tolist() == list(range(50))


def test_relabelling_the_nodes_changes_nothing() -> None:
    scores, links, order = coarse(20, 4, 0), some_links(20, 40, 0), torch.randperm(20)
    place = order.argsort()
    relabelled = score_step(table(scores[order][:, order]), place[links], 20, block_pairs=60)
    straight = score_step(table(scores), links, 20)
    assert relabelled.average_precision == pytest.approx(straight.average_precision, **EXACT)
    assert tuple(relabelled.unfiltered) == pytest.approx(tuple(straight.unfiltered), **EXACT)
    assert tuple(relabelled.filtered) == pytest.approx(tuple(straight.filtered), **EXACT)


def test_the_expected_rank_lies_between_its_bounds_and_filtering_never_lowers_it() -> None:
    for seed in range(20):
        found = score_step(table(coarse(20, 3, seed)), some_links(20, 40, seed), 20)
        assert found.unfiltered.lower <= found.unfiltered.expected <= found.unfiltered.upper
        assert found.filtered.lower <= found.filtered.expected <= found.filtered.upper
        assert found.filtered.expected >= found.unfiltered.expected


def test_the_mean_over_steps_weighs_precision_by_pairs_and_leaves_out_steps_without_links() -> None:
    small = score_step(table(coarse(4, 9, 0)), some_links(4, 5, 0), 4)
    large = score_step(table(coarse(12, 9, 1)), some_links(12, 9, 1), 12)
    empty = score_step(table(coarse(12, 9, 1)), torch.empty(2, 0, dtype=torch.int64), 12)
    found = mean_over_steps([small, empty, large])
    expected = (16 * small.average_precision + 144 * large.average_precision) / 160
    assert found.mean_average_precision == pytest.approx(expected, **EXACT)
    assert found.unfiltered.expected == pytest.approx(
        (small.unfiltered.expected + large.unfiltered.expected) / 2, **EXACT
    )
    assert (found.steps, found.steps_without_links) == (2, 1)
    with pytest.raises(ValueError, match="none of the 1 steps"):
        mean_over_steps([empty])


def sampled(scores: Tensor, links: Tensor, negatives: int, seed: int = 0, **more: int) -> StepScores:
    generator = torch.Generator().manual_seed(seed)
    return score_sampled_step(table(scores), links, len(scores), negatives=negatives, generator=generator, **more)


def test_a_sample_of_every_other_target_gives_the_filtered_rank() -> None:
    scores, links = coarse(9, 4, 0), torch.tensor([[0, 0, 3, 7, 7], [1, 5, 3, 2, 8]])
    one_each = links[:, [0, 2, 3]]
    whole = score_step(table(scores), one_each, 9)
    assert tuple(sampled(scores, one_each, 8).filtered) == pytest.approx(tuple(whole.filtered), **EXACT)
    with pytest.raises(ValueError, match="node 0 has 7; draw 1 to 7"):
        sampled(scores, links, 8)


def test_a_sampled_rank_says_its_sampling_has_no_precision_and_depends_on_the_seed_alone() -> None:
    scores, links = torch.rand(60, 60, generator=torch.Generator().manual_seed(0)), some_links(60, 90, 0)
    first, again, other = (sampled(scores, links, 10, seed) for seed in (1, 1, 2))
    assert first.filtered == again.filtered != other.filtered
    assert sampled(scores, links, 10, 1, block_pairs=60).filtered == first.filtered
    assert first.sampling == "10 targets without a link, drawn uniformly for each source"
    assert math.isnan(first.average_precision)
    with pytest.raises(ValueError, match="have no common mean"):
        mean_over_steps([first, score_step(table(scores), links, 60)])


def test_a_link_of_the_source_is_never_among_the_sampled_targets() -> None:
    """Links score highest: one of them as a negative would push another from the first place."""
    links = torch.tensor([[2] * 10, list(range(10))])
    scores = torch.zeros(12, 12)
    scores[2, :10] = 1
    assert sampled(scores, links, 2).filtered == (1, 1, 1)


def test_a_scorer_that_changes_its_mind_is_refused() -> None:
    """The trap of RReLU at test time: a model left in training mode answers at random."""
    model = nn.Sequential(nn.Linear(4, 40), nn.RReLU())
    x = torch.randn(40, 4)
    links = some_links(40, 30, 0)
    with pytest.raises(ValueError, match="evaluation mode"):
        score_step(lambda rows: model(x[rows]), links, 40)
    model.eval()
    assert score_step(lambda rows: model(x[rows]), links, 40).links > 0


@pytest.mark.parametrize(
    ("scores", "links", "message"),
    [
        (torch.zeros(5, 4), [[0], [1]], "5 rows of 5 targets"),
        (torch.full((5, 5), torch.nan), [[0], [1]], r"pair \(0, 0\) is nan"),
        (torch.zeros(5, 5), [[0], [5]], "nodes 0 to 5 but there are 5"),
    ],
)
def test_scores_that_mean_nothing_are_refused_by_name(scores: Tensor, links: list[list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_step(table(scores), torch.tensor(links), 5)


def test_every_link_result_stands_beside_the_memory_rules() -> None:
    memory, step = LinkMemory(6), torch.tensor([[0, 1, 2], [1, 0, 3]])
    memory.update(step)
    found = score_beside_memory(table(torch.zeros(6, 6)), memory, step)
    assert list(found) == ["model", "random", "activity", "repeat", "repeat_and_activity"]
    assert found["repeat"].average_precision == 1
    assert found["model"].average_precision == pytest.approx(3 / 36)
