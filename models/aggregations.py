"""What a node makes of the messages of its neighbours, chosen by name.

Each is a PyG `Aggregation`: rows [E, C] sorted by the segment that they belong to, with `index` [E] or `ptr` [S + 1],
to [S, C]. What comes out for a segment follows from its own rows alone, however large the others are. PyG's
`GRUAggregation` and `LCMAggregation` pad all segments to the largest and let the padding take part, so that two nodes
that don't know each other change each other's results; these two are written anew here.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch_geometric.nn.aggr import (
    Aggregation,
    MaxAggregation,
    MeanAggregation,
    MinAggregation,
    StdAggregation,
    SumAggregation,
)

from models.lcm import LCMAggregation
from models.segments import pointer

AggregationName = Literal["mean", "sum", "max", "pna", "gru", "lcm"]


def make_aggregation(
    name: AggregationName, width: int, *, assoc_weight: float = 0.0, assoc_fraction: float = 1.0
) -> Aggregation:
    """Rows of `width` channels to as many.

    `assoc_weight` is that of LCM's penalty for not being associative, `assoc_fraction` the share of the nodes of its
    trees on which that is estimated, without bias: all of them cost twice as much as LCM itself.

    All but `lcm`, which has learned what to say of nothing, give zeros for an empty segment. `pna` has to be told the
    degrees of the training graph: `PNA.fit`. Raises ValueError for another name.
    """
    match name:
        case "mean":
            return MeanAggregation()
        case "sum":
            return SumAggregation()
        case "max":
            return MaxAggregation()
        case "pna":
            return PNA(width)
        case "gru":
            return RaggedGRU(width)
        case "lcm":
            return LCMAggregation(width, width, project=False, assoc_weight=assoc_weight, assoc_fraction=assoc_fraction)
    raise ValueError(f"no aggregation is called {name!r}; there are mean, sum, max, pna, gru and lcm")


class PNA(Aggregation):  # type: ignore[misc]  # PyG has no types
    """Mean, minimum, maximum and spread, as they are and scaled by the degree, mapped back to `width`.

    Corso et al., Principal Neighbourhood Aggregation for Graph Nets, NeurIPS 2020, arXiv:2004.05718, equations 5 to 7:
    with d the degree and delta the mean of log(d + 1) over the nodes of the training graph, each of the four is also
    multiplied by log(d + 1) / delta (amplification) and by delta / log(d + 1) (attenuation).
    """

    mean_log_degree: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList([MeanAggregation(), MinAggregation(), MaxAggregation(), StdAggregation()])
        self.output = nn.Linear(3 * len(self.parts) * width, width, bias=False)  # nothing stays nothing
        self.register_buffer("mean_log_degree", torch.tensor(torch.nan))

    def reset_parameters(self) -> None:
        self.output.reset_parameters()

    def fit(self, degree: Tensor) -> None:
        """From the numbers of neighbours of the training graph's nodes, of any shape; one each where it has no edge."""
        self.mean_log_degree.copy_(
            degree.float().log1p().mean() if (degree > 0).any() else torch.log(torch.tensor(2.0))
        )

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
    ) -> Tensor:
        """Raises ValueError before `fit`."""
        if self.mean_log_degree.isnan():
            raise ValueError("PNA does not know the degrees of the training graph yet; call fit with them")
        index, ptr = both(index, ptr, dim_size)
        segments = len(ptr) - 1
        parts = torch.cat([part(x, index, dim_size=segments) for part in self.parts], dim=-1)  # [S, 4 C]
        relative = ptr.diff().clamp(min=1).to(x.dtype).log1p()[:, None] / self.mean_log_degree  # [S, 1]
        return self.output(torch.cat([parts, parts * relative, parts / relative], dim=-1))


class RaggedGRU(Aggregation):  # type: ignore[misc]
    """The last state of a GRU that has read a segment's rows one after the other; zeros for no rows.

    As many steps as the largest segment has rows, but no work on rows that are not there. In training the rows of each
    segment are shuffled, as Ong and Veličković do (arXiv:2212.08541, section 3); in evaluation they keep their order.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width)

    def reset_parameters(self) -> None:
        self.gru.reset_parameters()

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
    ) -> Tensor:
        index, ptr = both(index, ptr, dim_size)
        read = x.new_zeros(len(ptr) - 1, x.shape[-1])
        if not len(x):
            return read
        if self.training:
            x = x[shuffled(index)]
        degree = ptr.diff()
        length, longest_first = degree.sort(descending=True, stable=True)
        longest_first = longest_first[: int((length > 0).sum())]
        _, last = self.gru(_packed(x, index, ptr, longest_first))  # [1, S+, C], the longest first
        return read.index_copy(0, longest_first, last[0].to(read.dtype))


def both(index: Tensor | None, ptr: Tensor | None, segments: int | None) -> tuple[Tensor, Tensor]:
    """Of sorted rows the segment of each [E] and the starts of all [S + 1], whichever of the two is given.

    Raises ValueError where neither is, where the rows are not sorted, and where there are more than `segments`.
    """
    if ptr is not None:
        if index is None:
            index = torch.arange(len(ptr) - 1, device=ptr.device).repeat_interleave(ptr.diff())
        return index, ptr
    if index is None:
        raise ValueError("an aggregation needs to know whose its rows are; pass index or ptr")
    return index, pointer(index, segments)


def shuffled(index: Tensor) -> Tensor:
    """A random order of the rows [E] in which each segment keeps its places."""
    order = torch.randperm(len(index), device=index.device)
    return order[index[order].argsort(stable=True)]


def _packed(x: Tensor, index: Tensor, ptr: Tensor, longest_first: Tensor) -> PackedSequence:
    """All first rows, all second rows, and so on, each in the order of the segments `longest_first`."""
    turn = torch.arange(len(x), device=x.device) - ptr[index]  # [E], the row's place in its segment
    reading = turn.bincount()  # [longest], how many segments have so many rows
    rank = torch.empty_like(ptr[:-1])
    rank[longest_first] = torch.arange(len(longest_first), device=x.device)
    place = (reading.cumsum(0) - reading)[turn] + rank[index]
    return PackedSequence(x[place.argsort()], reading.cpu())
