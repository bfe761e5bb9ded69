"""Rules that remember links: yardsticks for link prediction, and inputs for a predictor that shall beat them.

A link seen before tends to be seen again, and busy nodes find one another. Graph networks over degrees know neither,
since two nodes with the same surroundings look alike to them; on message and routing graphs these rules beat
EvolveGCN's published figures several times over (Pareja et al., arXiv:1902.10191, Table 2).

random               a fixed number for each pair
activity             product of the two nodes' links in the last `window` steps
repeat               sum over the last `window` steps of `decay`^age * A[u, v]
repeat_and_activity  the repeat of all history, and a 1e-9 of the product of the two nodes' links of all history,
                     where a node that never had one counts half a link: a newcomer looks for busy nodes as others do

A[u, v] is 1 where the pair is there in a step, however often, and a node's links count each such pair once a step. On
UCI, counts of messages instead lower the MAP of repeat from 0.128 to 0.118.

In repeat_and_activity a node's links are divided by the largest number of them, so activity adds at most 1e-9, what a
link 30 steps ago is worth: it orders the pairs that were not seen lately. On UCI the MAP with 1e-12, 1e-9, 1e-6, 1e-4,
1e-3 and 1e-2 was 0.139, 0.139, 0.138, 0.138, 0.138 and 0.137; the MRR falls all the way.

The memory holds the steps it was given and nothing later: update it with step t, then score step t + 1.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Scorer = Callable[[Tensor], Tensor]  # source rows [R] to scores [R, N]

ACTIVITY_SHARE = 1e-9  # of the busiest pair's activity, in units of one link seen in the last step

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as signed numbers of 64 bits
_MIXERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)

VOLUME_DECAYS = (0.0, 0.5, 0.9)  # of the last step alone, and of all history, short and long
FEATURES = (
    "repeat",
    "source_activity",
    "target_activity",
    "present",
    "absence",
    "reciprocal",
    "source_links",
    "target_links",
    *(f"volume_{decay}" for decay in VOLUME_DECAYS),
)


class PairTable(NamedTuple):
    """Values of the pairs that have one, ordered by `key` = source * N + target."""

    key: Tensor  # [K]
    value: Tensor  # [K]

    def times(self, factor: float) -> "PairTable":
        return PairTable(self.key, factor * self.value)

    def at(self, key: Tensor, *, missing: float = 0.0) -> Tensor:
        """The values at `key` [M], `missing` where there is none."""
        if len(self.key) == 0:
            return self.value.new_full(key.shape, missing)
        place = torch.searchsorted(self.key, key).clamp(max=len(self.key) - 1)
        return torch.where(self.key[place] == key, self.value[place], missing)

    def rows(self, rows: Tensor, nodes: int) -> Tensor:
        """The rows [R, N] of source nodes `rows` [R], zero where there is no value."""
        start, stop = (torch.searchsorted(self.key, (rows + each) * nodes) for each in (0, 1))
        count = stop - start
        line = torch.arange(len(rows), device=rows.device).repeat_interleave(count)
        place = torch.arange(len(line), device=rows.device) + (start - (count.cumsum(0) - count))[line]
        block = self.value.new_zeros(len(rows), nodes)
        block[line, self.key[place] % nodes] = self.value[place]
        return block


class LinkMemory:
    """What a stream of snapshots over `nodes` global ids has shown so far; a pair is there in a step or is not.

    Kept are the pairs that were seen, never all N^2.
    """

    def __init__(self, nodes: int, *, window: int = 11, decay: float = 0.5, device: torch.device | None = None) -> None:
        self.nodes, self.window, self.decay = nodes, window, decay
        self.steps = 0
        key = torch.empty(0, dtype=torch.int64, device=device)
        nothing = PairTable(key, key.double())
        self._recent: deque[Tensor] = deque(maxlen=window)  # keys of the last steps, newest last
        self._repeat = nothing  # sum of decay^age over the last `window` steps
        self._decayed = nothing  # the same over all history
        self._last_seen = nothing  # the step in which a pair was last there
        self._volumes = [nothing for _ in VOLUME_DECAYS]  # sums of decay^age * log(1 + weight) over all history
        self.links = torch.zeros(nodes, dtype=torch.float64, device=device)  # [N], of all history
        self.recent_links = self.links  # [N], of the window

    def update(self, edge_index: Tensor, weight: Tensor | None = None) -> None:
        """Take in the next step, `edge_index` [2, E] of global ids; a pair that comes twice is there once.

        `weight` [E] says how much passed along each edge, 1 where it is not given; a pair that comes twice has the sum.
        Raises ValueError if an id is not one of the nodes.
        """
        key, place = _keys(edge_index, self.nodes).unique(return_inverse=True)
        amount = torch.ones_like(place).double() if weight is None else weight.double()
        volume = PairTable(key, amount.new_zeros(len(key)).index_add_(0, place, amount).log1p())
        self._recent.append(key)
        ages = range(len(self._recent) - 1, -1, -1)
        self._repeat = _added([_table(each, self.decay**age) for each, age in zip(self._recent, ages, strict=True)])
        self._decayed = _added([self._decayed.times(self.decay), _table(key, 1.0)])
        self._volumes = [
            _added([old.times(decay), volume]) for decay, old in zip(VOLUME_DECAYS, self._volumes, strict=True)
        ]
        before = self._last_seen.at(self._decayed.key)
        there = torch.isin(self._decayed.key, key)
        self._last_seen = PairTable(self._decayed.key, torch.where(there, float(self.steps), before))
        self.links = self.links + self._links_of(key)
        self.recent_links = self._links_of(torch.cat(list(self._recent)))
        self.steps += 1

    def rules(self, seed: int = 0) -> dict[str, Scorer]:
        """The four yardsticks by name, each from source rows [R] to scores [R, N] of the next step."""
        return {
            "random": lambda rows: random_scores(rows, self.nodes, seed),
            "activity": self.activity,
            "repeat": self.repeat,
            "repeat_and_activity": self.repeat_and_activity,
        }

    def activity(self, rows: Tensor) -> Tensor:
        return self.recent_links[rows, None] * self.recent_links

    def repeat(self, rows: Tensor) -> Tensor:
        return self._repeat.rows(rows, self.nodes)

    def repeat_and_activity(self, rows: Tensor) -> Tensor:
        everyone = torch.arange(self.nodes, device=rows.device)
        return self._decayed.rows(rows, self.nodes) + self.activity_of_all_history(rows[:, None], everyone)

    def repeat_and_activity_at(self, pairs: Tensor) -> Tensor:
        """The same of `pairs` [2, M] alone, bit for bit: [M]."""
        return self._decayed.at(_keys(pairs, self.nodes)) + self.activity_of_all_history(pairs[0], pairs[1])

    def activity_of_all_history(self, source: Tensor, target: Tensor) -> Tensor:
        """What activity alone adds to repeat_and_activity; `source` and `target` broadcast against each other."""
        share = self.links.clamp(min=0.5) / self.links.max().clamp(min=1)  # [N], at most 1
        return ACTIVITY_SHARE * share[source] * share[target]

    def features(self, pairs: Tensor) -> Tensor:
        """What is remembered of `pairs` [2, M], in the order of `FEATURES`: [M, 11], float32.

        repeat           log(1 + .) of the repeat of all history
        source_activity  log(1 + .) of the source's links in the window
        target_activity  log(1 + .) of the target's
        present          1 where the pair was there in the last step
        absence          steps since it last was, from 0 (the last step) to 1 (`window` steps ago or more, or never)
        reciprocal       1 where the reverse pair was ever there
        source_links     log(1 + .) of the source's links of all history
        target_links     log(1 + .) of the target's
        volume_d         sum over all history of d^age * log(1 + weight), for each of `VOLUME_DECAYS`
        """
        key, reverse = _keys(pairs, self.nodes), _keys(pairs.flip(0), self.nodes)
        never = float(self.steps - 1 - self.window)
        absence = self.steps - 1 - self._last_seen.at(key, missing=never)
        columns = (
            self._decayed.at(key).log1p(),
            self.recent_links[pairs[0]].log1p(),
            self.recent_links[pairs[1]].log1p(),
            absence == 0,
            absence.clamp(max=self.window) / self.window,
            self._last_seen.at(reverse, missing=-1.0) >= 0,
            self.links[pairs[0]].log1p(),
            self.links[pairs[1]].log1p(),
            *(volume.at(key) for volume in self._volumes),
        )
        return torch.stack([column.float() for column in columns], dim=1)

    def age(self, pairs: Tensor) -> Tensor:
        """For each of `pairs` [2, M] how many steps ago it was last there, 0 in the newest one; NaN where never."""
        return self.steps - 1 - self._last_seen.at(_keys(pairs, self.nodes), missing=math.nan)

    def seen_pairs(self) -> Tensor:
        """[2, K], the pairs that were ever there in either direction, by source and then target."""
        key = self._last_seen.key
        source, target = key // self.nodes, key % self.nodes
        either = torch.cat([key, target * self.nodes + source]).unique()
        return torch.stack([either // self.nodes, either % self.nodes])

    def features_unseen(self, pairs: Tensor) -> Tensor:
        """What `features` would say of `pairs` [2, M] if none had ever been there, in either direction: [M, 11]."""
        columns = torch.zeros(pairs.shape[1], len(FEATURES), device=pairs.device)
        columns[:, 1:3] = self.recent_links[pairs].log1p().float().T
        columns[:, 6:8] = self.links[pairs].log1p().float().T
        columns[:, FEATURES.index("absence")] = 1
        return columns

    def _links_of(self, key: Tensor) -> Tensor:
        return torch.bincount(key // self.nodes, minlength=self.nodes).double()


def random_scores(rows: Tensor, nodes: int, seed: int) -> Tensor:
    """A score [R, N] in [0, 1) for each pair.

    It depends on the pair and the seed alone, not on the rows asked with it: the finaliser of SplitMix64 (Steele, Lea
    and Flood 2014) on the number of the pair.
    """
    pair = rows[:, None] * nodes + torch.arange(nodes, device=rows.device)  # [R, N]
    bits = (pair + 1) * _GOLDEN + torch.tensor(seed, device=rows.device) * _MIXERS[0]  # both wrap around
    for shift, mixer in zip((30, 27), _MIXERS, strict=True):
        bits = (bits ^ _shifted(bits, shift)) * mixer
    return _shifted(bits, 11).double() * 2.0**-53


def _shifted(bits: Tensor, places: int) -> Tensor:
    """A shift to the right that fills with zeros; torch's repeats the sign."""
    return (bits >> places) & (2 ** (64 - places) - 1)


def _keys(pairs: Tensor, nodes: int) -> Tensor:
    if pairs.numel() and not 0 <= int(pairs.min()) <= int(pairs.max()) < nodes:
        raise ValueError(f"pairs name nodes {int(pairs.min())} to {int(pairs.max())} but there are {nodes}, from 0")
    return pairs[0] * nodes + pairs[1]


def _table(key: Tensor, value: float) -> PairTable:
    return PairTable(key, torch.full(key.shape, value, dtype=torch.float64, device=key.device))


def _added(tables: list[PairTable]) -> PairTable:
    """One table whose values are the sums of those of `tables`; exact in any order while the decay is a half."""
    key, place = torch.cat([table.key for table in tables]).unique(return_inverse=True)
    values = torch.cat([table.value for table in tables])
    return PairTable(key, values.new_zeros(len(key)).index_add_(0, place, values))
