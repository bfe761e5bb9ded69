"""How well links were predicted: every ordered pair of nodes is scored, a block of rows at a time.

MAP  the average precision (equal scores form one group, as in scikit-learn) over all ordered pairs of one step at once,
     self-pairs among them; then the mean over steps, weighted by their number of pairs. It is not a mean over nodes.
MRR  for each source with at least one link the mean of 1 / rank over its links; then the mean over sources, then over
     steps. The rank is among all N targets, other links of the source included ("unfiltered"), or without them
     ("filtered").

Equal scores have no order, so a reciprocal rank is given as its expectation over every order of them, and between the
worst and the best order. Where g targets tie behind `a` better ones, each link among them has the ranks a + 1 to a + g
alike, so E[1 / rank] = (1/(a + 1) + ... + 1/(a + g)) / g = (H(a + g) - H(a)) / g, H the harmonic numbers.

Only the scores of links, and a count for each distinct one, are kept: average precision changes where a link is found
and nowhere else, so it needs how many pairs score at least that much, and no sort of all pairs. The scorer is asked
twice for the same rows and must answer the same.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from models.link_memory import LinkMemory, Scorer

BLOCK_PAIRS = 2**22  # scores held at once
ALL_PAIRS = "all ordered pairs"


class ReciprocalRank(NamedTuple):
    expected: float
    lower: float
    upper: float


@dataclass(frozen=True)
class StepScores:
    """What one step says; every figure is NaN where the step has no link."""

    average_precision: float  # NaN where targets were sampled, too
    unfiltered: ReciprocalRank  # NaN where targets were sampled, too
    filtered: ReciprocalRank
    pairs: int
    links: int
    sampling: str


@dataclass(frozen=True)
class LinkMetrics:
    """The mean over steps that have links."""

    mean_average_precision: float
    unfiltered: ReciprocalRank
    filtered: ReciprocalRank
    steps: int
    steps_without_links: int
    sampling: str


def score_step(score: Scorer, links: Tensor, nodes: int, *, block_pairs: int = BLOCK_PAIRS) -> StepScores:
    """Scores of one step whose links are `links` [2, E], among all pairs of `nodes` ids.

    A link that comes twice is one.
    Raises ValueError if a score is not finite, has the wrong shape, or changes from one call to the next.
    """
    links = distinct_links(links, nodes)
    if links.shape[1] == 0:
        return no_links(nodes**2, ALL_PAIRS)
    rows = torch.arange(nodes, device=links.device)
    blocks = list(_blocks(rows, links, max(1, block_pairs // nodes)))
    found = torch.cat(
        [_scores(score, block, nodes)[block.row, block.target] for block in blocks if len(block.row)]
    )  # [P]
    levels, links_at = found.unique(return_counts=True)  # ascending
    pairs_at = torch.zeros_like(links_at)
    again: list[Tensor] = []
    ranks: list[tuple[Tensor, ...]] = []
    for block in blocks:
        scores = _scores(score, block, nodes)  # [R, N]
        pairs_at += _count(scores, levels)
        again.append(scores[block.row, block.target])
        ranks.extend(_ranks(scores, block))
    _same(found, torch.cat(again))
    rank = Rank(*(torch.cat(part) for part in zip(*ranks, strict=True)))
    return StepScores(
        average_precision=average_precision(links_at, pairs_at),
        unfiltered=reciprocal_rank(rank, links[0]),
        filtered=reciprocal_rank(rank.without_links(), links[0]),
        pairs=nodes**2,
        links=links.shape[1],
        sampling=ALL_PAIRS,
    )


def score_sampled_step(
    score: Scorer,
    links: Tensor,
    nodes: int,
    *,
    negatives: int,
    generator: torch.Generator,
    block_pairs: int = BLOCK_PAIRS,
) -> StepScores:
    """Filtered ranks of one step's links, each among `negatives` targets that its source has no link to.

    A source's targets are drawn once, uniformly without replacement, itself among the candidates. Sources without a
    link are not scored. A sampled rank is not a rank among all targets: compare such figures with their like only. An
    average precision over a sample would be of another share of links, so there is none.
    Raises ValueError if a source has too few targets without a link.
    """
    links = distinct_links(links, nodes)
    sampling = f"{negatives} targets without a link, drawn uniformly for each source"
    if links.shape[1] == 0:
        return no_links(0, sampling)
    sources, degree = links[0].unique(return_counts=True)
    _check_sample(negatives, nodes, sources, degree)
    ranks = []
    for block in _blocks(sources, links, max(1, block_pairs // nodes)):
        scores = _scores(score, block, nodes)
        chosen = _draw_targets(block, nodes, negatives, generator)  # [R, negatives]
        own = scores[block.row, block.target, None]  # [P, 1]
        others = scores.gather(1, chosen)[block.row]  # [P, negatives]
        ranks.append(((others > own).sum(1), (others == own).sum(1) + 1))
    above, tied = (torch.cat(part) for part in zip(*ranks, strict=True))
    rank = Rank(above, tied, torch.zeros_like(above), torch.ones_like(tied))
    pairs = negatives * len(sources) + links.shape[1]
    missing = ReciprocalRank(math.nan, math.nan, math.nan)
    return StepScores(math.nan, missing, reciprocal_rank(rank, links[0]), pairs, links.shape[1], sampling)


def score_beside_memory(score: Scorer, memory: LinkMemory, links: Tensor, *, seed: int = 0) -> dict[str, StepScores]:
    """A model's step beside the same step by the rules of a memory that has seen every step before it."""
    scorers = {"model": score, **memory.rules(seed)}
    return {name: score_step(each, links, memory.nodes) for name, each in scorers.items()}


def mean_over_steps(steps: Sequence[StepScores]) -> LinkMetrics:
    """Average precision weighted by pairs, reciprocal ranks by steps.

    Raises ValueError if no step has a link, or the steps were sampled in different ways.
    """
    counted = [step for step in steps if step.links]
    if not counted:
        raise ValueError(f"none of the {len(steps)} steps has a link to find; evaluate on a longer range")
    sampling = {step.sampling for step in counted}
    if len(sampling) > 1:
        raise ValueError(f"steps ranked among {' and among '.join(sorted(sampling))} have no common mean; choose one")
    pairs = sum(step.pairs for step in counted)
    return LinkMetrics(
        mean_average_precision=sum(step.average_precision * step.pairs for step in counted) / pairs,
        unfiltered=_mean([step.unfiltered for step in counted]),
        filtered=_mean([step.filtered for step in counted]),
        steps=len(counted),
        steps_without_links=len(steps) - len(counted),
        sampling=sampling.pop(),
    )


class Block(NamedTuple):
    """Some sources and their links."""

    sources: Tensor  # [R]
    row: Tensor  # [P], place of a link's source in `sources`
    target: Tensor  # [P]


class Rank(NamedTuple):
    """Where each link stands among the targets of its source, [P] each."""

    above: Tensor  # targets that score more
    tied: Tensor  # targets that score the same, itself among them
    links_above: Tensor  # how many of those are links of the source
    links_tied: Tensor

    def without_links(self) -> "Rank":
        """The rank that each link has when the source's other links are taken out."""
        return Rank(
            self.above - self.links_above,
            self.tied - self.links_tied + 1,
            torch.zeros_like(self.links_above),
            torch.ones_like(self.links_tied),
        )


def distinct_links(links: Tensor, nodes: int) -> Tensor:
    if links.numel() and not 0 <= int(links.min()) <= int(links.max()) < nodes:
        raise ValueError(f"links name nodes {int(links.min())} to {int(links.max())} but there are {nodes}, from 0")
    key = (links[0] * nodes + links[1]).unique()
    return torch.stack([key // nodes, key % nodes])


def _blocks(sources: Tensor, links: Tensor, size: int) -> Iterator[Block]:
    """`sources` in runs of `size`; both they and the links are in ascending order, so the links stay in theirs."""
    for rows in sources.split(size):
        start, stop = (int(torch.searchsorted(links[0], edge)) for edge in (rows[0], rows[-1] + 1))
        source, target = links[:, start:stop]
        yield Block(rows, torch.searchsorted(rows, source.contiguous()), target)


def _scores(score: Scorer, block: Block, nodes: int) -> Tensor:
    scores = score(block.sources).detach()
    if scores.shape != (len(block.sources), nodes):
        raise ValueError(
            f"{len(block.sources)} rows of {nodes} targets were asked for but came as {list(scores.shape)}"
        )
    if not bool(scores.isfinite().all()):
        row, column = (~scores.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"the score of pair ({int(block.sources[row])}, {column}) is {float(scores[row, column])}")
    return scores


def _same(first: Tensor, second: Tensor) -> None:
    changed = int((first != second).sum())
    if changed:
        raise ValueError(
            f"{changed} of {len(first)} links scored differently when asked again; put the model into evaluation mode"
        )


def _count(scores: Tensor, levels: Tensor) -> Tensor:
    """How many scores lie from each level up to the next, [L]; those below the lowest never matter."""
    scores = scores[scores >= levels[0]]
    return torch.bincount(torch.searchsorted(levels, scores, right=True) - 1, minlength=len(levels))


def average_precision(links_at: Tensor, pairs_at: Tensor) -> float:
    """Precision at each level, weighted by the links found there: counts [L] each, by ascending level."""
    links_at, pairs_at = links_at.flip(0), pairs_at.flip(0)
    precision = links_at.cumsum(0).double() / pairs_at.cumsum(0)
    return float((precision * links_at).sum() / links_at.sum())


def _ranks(scores: Tensor, block: Block) -> Iterator[tuple[Tensor, ...]]:
    """The ranks of a block's links, as many at a time as it has rows: no more is held than a few blocks."""
    is_link = torch.zeros_like(scores, dtype=torch.bool)
    is_link[block.row, block.target] = True
    size = len(block.sources)
    for row, target in zip(block.row.split(size), block.target.split(size), strict=True):
        own, among, linked = scores[row, target, None], scores[row], is_link[row]  # [P, 1], [P, N], [P, N]
        above, tied = among > own, among == own
        yield above.sum(1), tied.sum(1), (above & linked).sum(1), (tied & linked).sum(1)


def reciprocal_rank(rank: Rank, source: Tensor) -> ReciprocalRank:
    """Means over each source's links, then over sources: `source` [P], ascending.

    At best the links lead their ties, at worst they close them.
    """
    above, tied, _, links_tied = (part.cpu() for part in rank)
    _, place, degree = source.cpu().unique(return_inverse=True, return_counts=True)
    weight = 1 / (degree[place].double() * len(degree))
    expected = _mean_reciprocal(above, tied)
    lower = _mean_reciprocal(above + tied - links_tied, links_tied)
    upper = _mean_reciprocal(above, links_tied)
    return ReciprocalRank(*(float((weight * each).sum()) for each in (expected, lower, upper)))


def _mean_reciprocal(above: Tensor, count: Tensor) -> Tensor:
    """The mean of 1 / rank over the `count` ranks behind the first `above`; H(n) = digamma(n + 1) + a constant."""
    harmonic = torch.digamma((above + count + 1).double()) - torch.digamma((above + 1).double())
    return torch.where(count == 1, 1 / (above + 1).double(), harmonic / count)


def _draw_targets(block: Block, nodes: int, negatives: int, generator: torch.Generator) -> Tensor:
    shape = (len(block.sources), nodes)
    lot = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64).to(block.row.device)
    lot[block.row, block.target] = -1  # a link is never drawn
    return lot.topk(negatives, dim=1).indices


def _check_sample(negatives: int, nodes: int, sources: Tensor, degree: Tensor) -> None:
    busiest = int(degree.argmax())
    free = nodes - int(degree[busiest])
    if not 1 <= negatives <= free:
        raise ValueError(
            f"{negatives} targets without a link were asked for but node {int(sources[busiest])} has {free}; "
            f"draw 1 to {free}"
        )


def no_links(pairs: int, sampling: str) -> StepScores:
    missing = ReciprocalRank(math.nan, math.nan, math.nan)
    return StepScores(math.nan, missing, missing, pairs, 0, sampling)


def _mean(ranks: list[ReciprocalRank]) -> ReciprocalRank:
    return ReciprocalRank(*(sum(part) / len(part) for part in zip(*ranks, strict=True)))
