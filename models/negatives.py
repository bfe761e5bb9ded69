"""Pairs of nodes without a link, for a link predictor to learn from.

Pareja et al., EvolveGCN: Evolving Graph Convolutional Networks for Dynamic Graphs, AAAI 2020, arXiv:1902.10191; the
draws are those of the authors' released code. Differs from it: nothing caps the number asked for but what the draws
hold (theirs is capped by a count of links taken for a count of nodes), and what is missing is reported.

Sources drawn from the links of the next step are label information. It shapes which pairs are trained on, and is never
an input.
"""

from typing import NamedTuple

import torch
from torch import Tensor

OVERSAMPLING = 4  # draws for every pair asked for, since self-pairs, links and repeats are skipped


class Negatives(NamedTuple):
    """Pairs that are not links."""

    pairs: Tensor  # [2, M], source and target
    shortfall: int  # pairs asked for and not found


def smart_negatives(positives: Tensor, active: Tensor, *, multiplier: int, generator: torch.Generator) -> Negatives:
    """`multiplier` pairs for each link of `positives` [2, E]: sources of links, to targets that were active.

    `active` [A] is every input snapshot's list of nodes, one after the other: a node active in m snapshots is m times
    as likely. A source is as likely as it has links. The generator may live on another device than the ids.
    """
    wanted = multiplier * positives.shape[1]
    if wanted == 0 or len(active) == 0:
        return Negatives(positives.new_empty(2, 0), wanted)
    sources = _draw(positives[0], OVERSAMPLING * wanted, generator)
    targets = _draw(active, OVERSAMPLING * wanted, generator)
    return _keep(torch.stack([sources, targets]), positives, wanted)


def uniform_negatives(positives: Tensor, nodes: int, *, multiplier: int, generator: torch.Generator) -> Negatives:
    """`multiplier` pairs for each link of `positives` [2, E], all pairs of the `nodes` ids alike."""
    wanted = multiplier * positives.shape[1]
    if wanted == 0:
        return Negatives(positives.new_empty(2, 0), 0)
    shape = (2, OVERSAMPLING * wanted)
    pairs = torch.randint(nodes, shape, generator=generator, device=generator.device).to(positives.device)
    return _keep(pairs, positives, wanted)


def _draw(ids: Tensor, count: int, generator: torch.Generator) -> Tensor:
    picks = torch.randint(len(ids), (count,), generator=generator, device=generator.device)
    return ids[picks.to(ids.device)]


def _keep(pairs: Tensor, positives: Tensor, wanted: int) -> Negatives:
    """The first `wanted` of `pairs` [2, D] that are no self-pair, no link and no repeat."""
    span = 1 + torch.cat([pairs, positives], dim=1).max()
    key, links = (source * span + target for source, target in (pairs, positives))  # one number a pair
    allowed = (pairs[0] != pairs[1]) & ~torch.isin(key, links) & _comes_first(key)
    kept = pairs[:, allowed][:, :wanted]
    return Negatives(kept, wanted - kept.shape[1])


def _comes_first(key: Tensor) -> Tensor:
    """Where `key` [D] holds a value for the first time."""
    ordered, order = key.sort(stable=True)
    first = torch.ones_like(key, dtype=torch.bool)
    first[order[1:]] = ordered[1:] != ordered[:-1]
    return first
