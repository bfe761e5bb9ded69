"""The aggregations of the synthetic tasks: ours by name, and PyG's own recurrent ones as peers."""

from typing import cast, get_args

from torch import Tensor, nn
from torch_geometric.nn.aggr import GRUAggregation, LCMAggregation

from models.aggregations import PNA, AggregationName, make_aggregation

PEERS = {"pyg-gru": GRUAggregation, "pyg-lcm": LCMAggregation}
OURS = get_args(AggregationName)
NAMES = (*OURS, *PEERS)


def new_aggregation(name: str, width: int, *, assoc_weight: float, degree: Tensor) -> nn.Module:
    """Rows of `width` channels to as many. PNA is told `degree`, of any shape, the segment sizes of the training."""
    if name in PEERS:
        project = {"project": False} if name == "pyg-lcm" else {}
        return PEERS[name](width, width, **project)
    found = make_aggregation(cast(AggregationName, name), width, assoc_weight=assoc_weight)
    if isinstance(found, PNA):
        found.fit(degree)
    return found
