import pytest
import torch
from torch import Tensor
from torch_geometric.nn.aggr import SumAggregation

from models.aggregations import make_aggregation
from models.multitask_network import MessageLayer, MultitaskNetwork


def random_graph(nodes: int) -> tuple[Tensor, Tensor]:
    """Features and edges both ways, sorted by target."""
    upper = torch.rand(nodes, nodes).triu(1) > 0.6
    target, source = (upper | upper.T).nonzero(as_tuple=True)
    return torch.rand(nodes, 2), torch.stack([source, target])


def network_of(name: str, width: int = 16) -> MultitaskNetwork:
    first, shared = (make_aggregation(name, width) for _ in range(2))
    return MultitaskNetwork(first, shared, channels=2, width=width, node_tasks=3, graph_tasks=3)


def test_a_layer_sums_messages_of_both_ends_as_a_loop_does():
    torch.manual_seed(0)
    layer = MessageLayer(2, 8, SumAggregation())
    x, edge_index = random_graph(7)
    gathered = torch.zeros(7, 8)
    for source, target in edge_index.T:
        gathered[target] += layer.from_target(x[target]) + layer.from_source(x[source])
    torch.testing.assert_close(layer(x, edge_index), layer.update(torch.cat([x, gathered], dim=1)))


@pytest.mark.parametrize("name", ["sum", "gru", "lcm"])
def test_a_graph_gets_the_same_alone_as_beside_larger_ones(name):
    """Sizes differ, so their depths do; a sum in another order is another float."""
    torch.manual_seed(0)
    network = network_of(name).eval()
    graphs = [random_graph(nodes) for nodes in (6, 15, 9)]
    ptr = torch.tensor([0, 6, 21, 30])
    x = torch.cat([x for x, _ in graphs])
    edges = torch.cat([edges + begin for (_, edges), begin in zip(graphs, ptr[:-1], strict=True)], dim=1)
    of_nodes, of_graphs = network(x, edges, ptr)
    alone = [network(x, edges, torch.tensor([0, len(x)])) for x, edges in graphs]
    torch.testing.assert_close(of_nodes, torch.cat([nodes for nodes, _ in alone]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(of_graphs, torch.cat([graph for _, graph in alone]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("nodes", [4, 9, 24])
def test_the_layers_are_half_as_many_as_the_nodes(nodes):
    network = network_of("sum")
    calls = {"first": 0, "shared": 0, "gru": 0}
    for name in calls:

        def count(*_, name=name):
            calls[name] += 1

        getattr(network, name).register_forward_hook(count)
    x, edges = random_graph(nodes)
    network(x, edges, torch.tensor([0, nodes]))
    assert calls == {"first": 1, "shared": nodes // 2 - 1, "gru": nodes // 2}


def test_relabelling_the_nodes_only_relabels_the_answers():
    torch.manual_seed(0)
    network = network_of("sum").eval()
    x, edges = random_graph(12)
    order = torch.randperm(12)
    moved = order.argsort()[edges]
    moved = moved[:, moved[1].argsort(stable=True)]
    ptr = torch.tensor([0, 12])
    of_nodes, of_graph = network(x, edges, ptr)
    of_moved, of_same = network(x[order], moved, ptr)
    torch.testing.assert_close(of_moved, of_nodes[order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(of_same, of_graph, atol=1e-5, rtol=1e-4)
