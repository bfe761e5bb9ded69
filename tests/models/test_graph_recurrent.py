"""Message passing with each of the aggregations, alone and as the encoder of a forecaster."""

from functools import partial
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from models.adjacency import dense_adjacency, directed_adjacency
from models.aggregations import PNA, AggregationName, make_aggregation
from models.forecaster import Scaled, Scaler, penalty
from models.graph import Graph
from models.graph_forecaster import GraphForecaster
from models.graph_recurrent import GraphRecurrent
from models.pace import Paced

B, W, H, N, F, S, C = 3, 8, 2, 6, 2, 3, 8
NAMES = get_args(AggregationName)
SYMMETRIC = [name for name in NAMES if name not in ("gru", "lcm")]
Sample = tuple[Tensor, Tensor, Tensor]
named = pytest.mark.parametrize("name", NAMES)


def encoder(name: Any, *, layers: int = 2, directed: bool = True, **settings: Any) -> GraphRecurrent:
    torch.manual_seed(0)
    made = GraphRecurrent(C, partial(make_aggregation, name, C, **settings), layers=layers, directed=directed)
    made.fit_degrees(graphs()[0])
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return made.eval()


def graphs() -> Tensor:
    torch.manual_seed(2)
    return 3 * torch.rand(B, S, N, N) * (torch.rand(B, S, N, N) < 0.4)


def states() -> Tensor:
    torch.manual_seed(3)
    return torch.randn(B, S, N, C)


def embed(network: GraphRecurrent, x: Tensor, weights: Tensor) -> Tensor:
    """`x` [B, S, N, C] on `weights` [B, S, N, N], or [N, N] for all."""
    directed = network.directions == 2
    if weights.dim() == 2:
        ways = [dense_adjacency(weights, directed=directed)] * x.shape[1]
    else:
        ways = [dense_adjacency(step, directed=directed) for step in weights.unbind(1)]
    return network([Graph(step, way, check=False) for step, way in zip(x.unbind(1), ways, strict=True)])[0]


def forecaster(name: Any, *, is_dynamic: bool = True, directed: bool = True, **settings: Any) -> GraphForecaster:
    sizes: dict[str, Any] = {"window": W, "horizon": H, "nodes": N, "variables": F, "hidden": C, "lags": 2}
    inner = encoder(name, directed=directed, **settings)
    made = GraphForecaster(inner, snapshots=S, is_dynamic=is_dynamic, directed=directed, **sizes)
    nn.init.normal_(made.output.weight, std=0.3)
    return made.eval()


@pytest.fixture
def sample() -> Sample:
    torch.manual_seed(1)
    mask = torch.rand(B, W, N, F) > 0.2
    return torch.randn(B, W, N, F) * mask, mask, torch.rand(B, W + H, 3)


@named
def test_a_node_knows_of_those_whose_edges_reach_it_and_of_no_other(name: str) -> None:
    """Two layers against the edges' direction alone: 0 -> 1 -> 2 -> 3, and 4 and 5 to themselves."""
    network, x = encoder(name, directed=False), states()
    chain = torch.zeros(N, N)
    chain[[0, 1, 2, 4], [1, 2, 3, 5]] = 1
    straight = embed(network, x, chain)
    for changed, reached in ((0, {0, 1, 2}), (3, {3}), (4, {4, 5}), (5, {5})):
        other = x.clone()
        other[1, 1, changed] += 1
        moved = (embed(network, other, chain) - straight).abs().amax(-1) > 1e-6
        assert moved[1].nonzero().flatten().tolist() == sorted(reached)
        assert not moved[[0, 2]].any()


@named
def test_directed_reads_both_ways_and_each_in_its_own_way(name: str) -> None:
    network, x, weights = encoder(name, layers=1), states(), torch.zeros(N, N)
    weights[0, 1] = 1
    other = x.clone()
    other[:, :, 1] += 1
    moved = (embed(network, other, weights) - embed(network, x, weights)).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [True, True, False, False, False, False]
    assert not torch.allclose(embed(network, x, weights), embed(network, x, weights.T))


@named
def test_a_nodes_result_does_not_depend_on_the_degree_of_others(name: str) -> None:
    """Where PyG's recurrent aggregations would pad all to the largest neighbourhood."""
    network, x = encoder(name, layers=1, directed=False), states()
    small, large = torch.zeros(N, N), torch.zeros(N, N)
    small[:3, 0] = 1
    large[:3, 0], large[:, 5] = 1, 1
    one, other = embed(network, x, small), embed(network, x, large)
    torch.testing.assert_close(one[:, :5], other[:, :5])
    assert not torch.allclose(one[:, 5], other[:, 5])


@pytest.mark.parametrize("name", SYMMETRIC)
def test_relabelling_the_nodes_relabels_the_embeddings(name: str) -> None:
    network, x, weights, order = encoder(name), states(), graphs(), torch.randperm(N)
    relabelled = embed(network, x[:, :, order], weights[:, :, order][..., order])
    torch.testing.assert_close(relabelled, embed(network, x, weights)[:, order], rtol=1e-4, atol=1e-5)


@named
def test_relabelling_without_another_order_of_neighbours_relabels_for_all(name: str) -> None:
    """A single neighbour has one order, whatever the labels; of two, lcm and not gru is the same."""
    network, x, order = encoder(name, directed=False), states(), torch.randperm(N)
    ring = torch.zeros(N, N)
    for step in (1, 2) if name == "lcm" else (1,):
        ring[torch.arange(N), (torch.arange(N) + step) % N] = step
    relabelled = embed(network, x[:, :, order], ring[order][:, order])
    torch.testing.assert_close(relabelled, embed(network, x, ring)[:, order], rtol=1e-4, atol=1e-5)


@named
@pytest.mark.parametrize("directed", [False, True])
def test_a_static_graph_is_the_same_edges_at_every_step(name: str, directed: bool, sample: Sample) -> None:
    graph = graphs()[0, 0] + graphs()[0, 0].T
    still, moving = (forecaster(name, is_dynamic=dynamic, directed=directed) for dynamic in (False, True))
    still.set_graph(graph)
    moving.load_state_dict({key: value for key, value in still.state_dict().items() if key != "graph"})
    torch.testing.assert_close(still(*sample), moving(*sample, graph.expand(B, S, N, N)))
    still.set_graph(graph.flip(0))
    torch.testing.assert_close(still(*sample), moving(*sample, graph.flip(0).expand(B, S, N, N)))


@named
def test_each_window_has_its_own_edges_at_every_step(name: str, sample: Sample) -> None:
    network, edges = forecaster(name), graphs()
    whole = network(*sample, edges)
    for i in range(B):
        alone = network(*(part[i : i + 1] for part in sample), edges[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-4, atol=1e-5)
        for step in range(S):
            other = edges.clone()
            other[i, step] = 0
            moved = (network(*sample, other) - whole).abs().amax((1, 2, 3)) > 1e-6
            assert moved.nonzero().flatten().tolist() == [i]


@named
def test_a_graph_without_edges_leaves_each_node_its_own_past(name: str, sample: Sample) -> None:
    network, none = forecaster(name), torch.zeros(B, S, N, N)
    x, mask, calendar = sample
    straight = network(x, mask, calendar, none)
    assert straight.isfinite().all()
    other = x.clone()
    other[:, :, 0] += 1
    moved = (network(other, mask | True, calendar, none) - network(x, mask | True, calendar, none)).abs() > 1e-6
    assert moved.any(dim=1).any(dim=0).any(dim=-1).tolist() == [True] + [False] * (N - 1)


@named
def test_every_weight_has_a_gradient(name: str, sample: Sample) -> None:
    network = forecaster(name, assoc_weight=0.01).train()
    network(*sample, graphs()).pow(2).sum().backward()
    assert not [key for key, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]


def test_degrees_are_those_of_each_direction() -> None:
    network = encoder("pna")
    star = torch.zeros(N, N)
    star[0, 1:] = 1
    network.fit_degrees(star)
    along, against = (messages.aggregation for messages in network.layers[1].messages)
    assert isinstance(along, PNA)
    assert along.mean_log_degree.item() == pytest.approx((N - 1) / N * 0.6931, rel=1e-3)
    assert against.mean_log_degree.item() == pytest.approx(torch.tensor(N).log().item() / N, rel=1e-3)


def test_the_penalty_of_all_layers_comes_through_what_is_wrapped_around(sample: Sample) -> None:
    network = forecaster("lcm", assoc_weight=0.5, layers=1, directed=False)
    around = Scaled(Paced(network), Scaler(N, F))
    edges = torch.ones(B, S, N, N)
    around.train()(*sample, edges)
    one = penalty(around)
    assert one > 0
    assert one == network.encoder.layers[0].messages[0].aggregation.penalty()
    around.eval()(*sample, edges)
    assert penalty(around) == 0
    deeper = forecaster("lcm", assoc_weight=0.5).train()
    deeper(*sample, edges)
    parts = [messages.aggregation.penalty() for layer in deeper.encoder.layers for messages in layer.messages]
    assert len(parts) == 4
    torch.testing.assert_close(penalty(deeper), sum(parts))
    assert penalty(forecaster("mean").train()) == 0


def test_a_sparse_adjacency_is_refused() -> None:
    adjacency = directed_adjacency(torch.tensor([[0], [1]]), nodes=N)
    with pytest.raises(ValueError, match="pass a dense one"):
        encoder("mean")([Graph(states()[0, 0], adjacency)])
