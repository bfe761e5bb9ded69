"""The static GCN and the GCN-GRU against dense matrices and torch's own GRU."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from models.adjacency import directed_adjacency, symmetric_adjacency
from models.graph import Graph, stack_graphs
from models.graph_comparators import GCNGRU, StaticGCN

WIDTHS = [5, 4, 3]
EXACT = {"atol": 1e-12, "rtol": 0}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def graph_of(nodes: int = 8, *, directed: bool = False) -> Graph:
    edges = torch.randint(nodes, (2, 12))
    if directed:
        return Graph(torch.randn(nodes, 5), directed_adjacency(edges, torch.rand(12), nodes=nodes))
    return Graph(torch.randn(nodes, 5), symmetric_adjacency(torch.cat([edges, edges.flip(0)], dim=1), nodes=nodes))


def dense_layers(weights: Sequence[Tensor], graph: Graph) -> Tensor:
    h = graph.x
    for pair in weights:
        matrices = [operator.matrix.to_dense() for operator in graph.adjacency.operators]
        total = sum(matrix @ h @ weight for matrix, weight in zip(matrices, pair, strict=True))
        h = torch.where(total > 0, total, total * 11 / 48)
    return h


@pytest.mark.parametrize("directed", [False, True])
def test_the_static_gcn_is_the_dense_one_on_the_last_snapshot(directed: bool) -> None:
    model = StaticGCN(WIDTHS, directed=directed)
    graphs = [graph_of(nodes, directed=directed) for nodes in (3, 9, 8)]
    out, state = model(graphs)
    torch.testing.assert_close(out, dense_layers(model.convolutions.weights, graphs[-1]), **EXACT)
    assert torch.equal(model(graphs[-1:], state, policy="carry")[0], out)
    assert not model(graphs, policy="stream")[0].requires_grad


def test_a_static_gcn_with_skip_shows_the_raw_features_too() -> None:
    model, graph = StaticGCN(WIDTHS, skip=True), graph_of()
    out, _ = model([graph])
    assert out.shape == (8, model.width)
    assert torch.equal(out[:, 3:], graph.x)


def test_the_comparators_have_their_weights_from_the_released_law() -> None:
    torch.manual_seed(0)
    for weights in StaticGCN([100, 64, 64]).convolutions.weights:
        bound = 2 * weights.shape[1] ** -0.5
        assert 0.98 * bound < weights.abs().max() <= bound
        assert weights.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_the_gcn_gru_is_torch_s_gru_on_every_node_s_embeddings() -> None:
    model, graphs = GCNGRU(WIDTHS), [graph_of() for _ in range(4)]
    out, _ = model(graphs)
    for node in range(8):
        series = torch.stack([dense_layers(model.convolutions.weights, graph)[node] for graph in graphs])
        torch.testing.assert_close(out[node], model.recurrence(series)[1][0], **EXACT)
    out.sum().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


def test_a_carried_gcn_gru_equals_one_long_window_and_stops_gradients() -> None:
    model, graphs = GCNGRU(WIDTHS), [graph_of() for _ in range(5)]
    whole, _ = model(graphs)
    for policy in ("carry", "stream"):
        _, state = model(graphs[:2], policy=policy)
        rest, _ = model(graphs[2:], state, policy=policy)
        torch.testing.assert_close(rest, whole, **EXACT)
        assert rest.requires_grad == (policy == "carry")
    given = state.requires_grad_()
    further, _ = model(graphs[2:], given, policy="carry")
    reached = torch.autograd.grad(further.sum(), given, allow_unused=True)
    assert reached == (None,)


@pytest.mark.parametrize("kind", [StaticGCN, GCNGRU])
def test_a_batch_equals_single_runs(kind: type[nn.Module]) -> None:
    model = kind(WIDTHS)
    sequences = [[graph_of(nodes) for _ in range(3)] for nodes in (8, 5)]
    out, _ = model([stack_graphs(step) for step in zip(*sequences, strict=True)])
    for place, graphs in enumerate(sequences):
        single, _ = model(graphs)
        torch.testing.assert_close(out[place, : len(single)], single, **EXACT)


def test_a_gru_along_time_refuses_nodes_that_change() -> None:
    model = GCNGRU(WIDTHS)
    with pytest.raises(ValueError, match="use global ids"):
        model([graph_of(8), graph_of(9)])
    with pytest.raises(ValueError, match="use global ids"):
        model([graph_of(8)], torch.zeros(9, 3), policy="carry")
    with pytest.raises(ValueError, match="policy 'reset' starts every window anew"):
        model([graph_of(8)], torch.zeros(8, 3))


def test_features_may_be_replaced_without_a_new_adjacency() -> None:
    model, graph = StaticGCN(WIDTHS), graph_of()
    other = replace(graph, x=2 * graph.x)
    assert other.adjacency is graph.adjacency
    torch.testing.assert_close(model([other])[0], 2 * model([graph])[0], **EXACT)
