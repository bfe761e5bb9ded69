"""What `pipelines.link_metrics.score_step` gives, from scores of groups of equal nodes.

Nothing is sampled or rounded: equal pairs are counted instead of compared one by one.
"""

import math

import torch
from torch import Tensor

from models.pair_scores import PairScores
from pipelines.link_metrics import ALL_PAIRS, Rank, StepScores, distinct_links, no_links, reciprocal_rank


def score_grouped(scores: PairScores, links: Tensor) -> StepScores:
    """One step whose links are `links` [2, E], among all pairs. Raises ValueError if a score is not finite."""
    links = distinct_links(links, scores.nodes)
    pairs = scores.nodes**2
    if links.shape[1] == 0:
        return no_links(pairs, ALL_PAIRS)
    own = scores.at(links)
    if not bool(own.isfinite().all()):
        raise ValueError(f"{int((~own.isfinite()).sum())} of {len(own)} links have a score that is no finite number")
    rank = Rank(*scores.rank(links), *_among_links(links[0], own))
    return StepScores(
        average_precision=scores.average_precision(links),
        unfiltered=reciprocal_rank(rank, links[0]),
        filtered=reciprocal_rank(rank.without_links(), links[0]),
        pairs=pairs,
        links=links.shape[1],
        sampling=ALL_PAIRS,
    )


def mean_reciprocal_rank(scores: PairScores, links: Tensor, known: Tensor | None = None) -> float:
    """The expected unfiltered one of one step, among the `known` [K] targets or all; NaN without a link."""
    links = distinct_links(links, scores.nodes)
    if links.shape[1] == 0:
        return math.nan
    rank = Rank(*scores.rank(links, known), *_among_links(links[0], scores.at(links)))
    return reciprocal_rank(rank, links[0]).expected


def _among_links(source: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """How many links of the same source score more than each, and as much: [E]; `source` [E] ascending."""
    parts = score.split(source.unique_consecutive(return_counts=True)[1].tolist())
    above = torch.cat([(part > part[:, None]).sum(1) for part in parts])
    tied = torch.cat([(part == part[:, None]).sum(1) for part in parts])
    return above, tied
