"""Scores of all pairs of nodes, each distinct one worked out once.

With degrees as features many nodes have equal embeddings, all that are not there among them. Equal nodes form a group,
and a pair of groups has one score. A pair that a memory has seen has features of its own, so it has its own score; what
a memory knows of any other pair is known from its ends.

A network's odds may stand on a rule's shoulders instead of alone: the score is then

    repeat_and_activity(u, v) * odds(u, v) ^ power        power >= 0

which in logarithms is the rule's score and `power` times the network's. At 0 it is the rule bit for bit, and the larger
it is, the more the network decides.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from models.link_memory import LinkMemory
from models.pair_head import PairHead

BLOCK = 2**22  # numbers of the head's hidden layer at once
LARGEST = 600  # logarithm of a factor; e^700 is still a number
KEPT = 2**25  # scores of pairs of groups that are kept for a second look


class PairScores:
    """Log-odds of the second class against the first for ordered pairs of N nodes, or with `power` the product above.

    Node i has the embedding `h[place[i]]`; `h` [n, width], `place` [N]. `memory` is given where the head reads its
    features or there is a `power`, which may be set anew, since the log-odds are kept. With `both_ways`, of graphs
    without a direction, a pair that was seen has the mean of its log-odds in both directions: two scores for what is
    one link would cost precision.
    """

    def __init__(
        self,
        head: PairHead,
        h: Tensor,
        place: Tensor,
        memory: LinkMemory | None = None,
        *,
        power: float | None = None,
        both_ways: bool = False,
    ) -> None:
        self.head, self.memory, self.nodes = head, memory, len(place)
        self.power, self.both_ways = power, both_ways
        _, alike = h.unique(dim=0, return_inverse=True)
        marks = alike[place][:, None]  # [N, 1]
        if memory is not None:
            busy = torch.stack([memory.recent_links, memory.links], dim=1).long()  # all that is known of single nodes
            marks = torch.cat([marks, busy], dim=1)
        _, self.group = marks.unique(dim=0, return_inverse=True)  # [N]
        self.size = torch.bincount(self.group)  # [G]
        self.member = torch.empty_like(self.size)  # [G], a node of each group
        self.member[self.group] = torch.arange(self.nodes, device=place.device)
        self.source, self.target = (end[place[self.member]] for end in head.ends(h))
        self.seen_key, self._seen_rule, self._seen_odds = self._seen(h, place)
        self._blocks: list[Tensor] = []

    def __call__(self, rows: Tensor) -> Tensor:
        """Source nodes `rows` [R] to scores [R, N]."""
        groups, line = self.group[rows].unique(return_inverse=True)
        log_odds = torch.cat(list(self._of_groups(groups)))
        scores = self._on_activity(groups, log_odds)[line][:, self.group]  # [R, N]
        line, at = _rows_of(self.seen_key, rows, self.nodes)
        scores[line, self.seen_key[at] % self.nodes] = self.seen_score[at]
        return scores

    def average_precision(self, links: Tensor, known: Tensor | None = None) -> float:
        """Of `links` [2, E] among all N^2 pairs, equal scores as one group; NaN without a link.

        With `known` [K] among the pairs of these nodes alone, of which all links and all remembered pairs are.

        The same figure as that of `pipelines.link_metrics.score_step`, without going through the pairs one by one.
        """
        key = (links[0] * self.nodes + links[1]).unique()
        if len(key) == 0:
            return float("nan")
        found = self._at(key)
        levels, links_at = found.unique(return_counts=True)  # ascending
        pairs_at = torch.zeros(len(levels), dtype=torch.float64, device=key.device)
        size = self._size(known)
        for first, block in self._table():
            weight = size[first : first + len(block), None] * size
            pairs_at += _counted(block.flatten(), levels, weight.flatten().double())
        one = torch.ones(len(self.seen_key), dtype=torch.float64, device=key.device)
        pairs_at += _counted(self.seen_score, levels, one) - _counted(self._of_pairs(self.seen_key), levels, one)
        precision = links_at.flip(0).cumsum(0) / pairs_at.flip(0).cumsum(0)
        return float((precision * links_at.flip(0)).sum() / links_at.sum())

    def rank(self, links: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """For each of `links` [2, E], sorted by source, how many targets of its source score more, and as much: [E].

        With `known` [K] among these targets alone, as in `average_precision`.
        """
        key = links[0] * self.nodes + links[1]
        size = self._size(known)
        own, source = self._at(key), self.group[links[0]]
        above, tied = (torch.zeros(len(key), dtype=torch.int64, device=key.device) for _ in range(2))
        for first, block in self._table():
            here = ((source >= first) & (source < first + len(block))).nonzero().flatten()
            for part in here.split(max(1, BLOCK // block.shape[1])):
                rows = block[source[part] - first]  # [P, G]
                above[part] = ((rows > own[part, None]) * size).sum(1)
                tied[part] = ((rows == own[part, None]) * size).sum(1)
        line, at = _rows_of(self.seen_key, links[0], self.nodes)  # a seen pair has its own score, not its group's
        for scores, sign in ((self.seen_score, 1), (self._of_pairs(self.seen_key), -1)):
            above.index_add_(0, line, sign * (scores[at] > own[line]).long())
            tied.index_add_(0, line, sign * (scores[at] == own[line]).long())
        return above, tied

    def at(self, links: Tensor) -> Tensor:
        """The scores [E] of `links` [2, E]."""
        return self._at(links[0] * self.nodes + links[1])

    def _size(self, known: Tensor | None) -> Tensor:
        """How many nodes each group has, or how many of the known ones: [G]."""
        return self.size if known is None else torch.bincount(self.group[known], minlength=len(self.size))

    @property
    def seen_score(self) -> Tensor:
        return self._seen_odds if self.power is None else stacked(self._seen_rule, self._seen_odds, self.power)

    def _seen(self, h: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each pair that was seen its key, the rule's score and the log-odds."""
        if self.memory is None:
            return place.new_empty(0), h.new_empty(0), h.new_empty(0)
        pairs = self.memory.seen_pairs()
        features = self.memory.features(pairs) if self.head.features else None
        key, log_odds = pairs[0] * self.nodes + pairs[1], odds(self.head(h, place[pairs], features))
        if self.both_ways:
            log_odds = (log_odds + log_odds[torch.searchsorted(key, pairs[1] * self.nodes + pairs[0])]) / 2
        return key, self.memory.repeat_and_activity_at(pairs), log_odds

    def _at(self, key: Tensor) -> Tensor:
        scores = self._of_pairs(key)
        if len(self.seen_key):
            at = torch.searchsorted(self.seen_key, key).clamp(max=len(self.seen_key) - 1)
            scores = torch.where(self.seen_key[at] == key, self.seen_score[at], scores)
        return scores

    def _of_pairs(self, key: Tensor) -> Tensor:
        """The scores of the groups that the pairs `key` [M] belong to."""
        source, target = self.group[key // self.nodes], self.group[key % self.nodes]
        scores = self.seen_score.new_empty(len(key))
        for first, block in self._table():
            here = (source >= first) & (source < first + len(block))
            scores[here] = block[source[here] - first, target[here]]
        return scores

    def _table(self) -> Iterator[tuple[int, Tensor]]:
        """The scores of all pairs of groups in blocks of rows, and the row that each begins with."""
        first = 0
        for block in self._kept_blocks():
            yield first, self._on_activity(torch.arange(first, first + len(block), device=block.device), block)
            first += len(block)

    def _kept_blocks(self) -> Iterator[Tensor] | list[Tensor]:
        everyone = torch.arange(len(self.size), device=self.size.device)
        if len(everyone) ** 2 > KEPT:
            return self._of_groups(everyone)
        if not self._blocks:
            self._blocks = list(self._of_groups(everyone))
        return self._blocks

    def _of_groups(self, groups: Tensor) -> Iterator[Tensor]:
        """Log-odds [a, G] of source groups against all groups, as many at once as fit a block."""
        for part in groups.split(max(1, BLOCK // (len(self.size) * self.head.first.out_features))):
            features = self._unseen(part) if self.head.features else None
            yield odds(self.head.meet(self.source[part, None], self.target, features))

    def _on_activity(self, groups: Tensor, log_odds: Tensor) -> Tensor:
        """Scores [a, G] of source groups against all groups, from their log-odds."""
        if self.power is None:
            return log_odds
        assert self.memory is not None
        activity = self.memory.activity_of_all_history(self.member[groups, None], self.member)
        return stacked(activity, log_odds, self.power)

    def _unseen(self, groups: Tensor) -> Tensor:
        assert self.memory is not None
        pairs = torch.cartesian_prod(self.member[groups], self.member).T
        return self.memory.features_unseen(pairs).unflatten(0, (len(groups), -1))


def odds(logits: Tensor) -> Tensor:
    """Log-odds [...] of the second class from logits [..., 2]."""
    return logits[..., 1] - logits[..., 0]


def stacked(rule: Tensor, log_odds: Tensor, power: float) -> Tensor:
    """A rule's score times the odds to a power, [...]; the rule itself where the power is 0, and always finite."""
    return rule * (power * log_odds.double()).clamp(-LARGEST, LARGEST).exp()


def _rows_of(key: Tensor, rows: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """The positions in sorted `key` of the pairs whose sources are `rows` [R], and the row that each is of."""
    start, stop = (torch.searchsorted(key, (rows + each) * nodes) for each in (0, 1))
    count = stop - start
    line = torch.arange(len(rows), device=rows.device).repeat_interleave(count)
    return line, torch.arange(len(line), device=rows.device) + (start - (count.cumsum(0) - count))[line]


def _counted(scores: Tensor, levels: Tensor, weight: Tensor) -> Tensor:
    """The weight of scores from each level up to the next, [L]."""
    enough = scores >= levels[0]
    at = torch.searchsorted(levels, scores[enough], right=True) - 1
    return torch.bincount(at, weights=weight[enough], minlength=len(levels))
