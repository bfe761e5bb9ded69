"""What holds of forecasts on a graph beside what holds of all (tests/models/test_forecasters.py)."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.evolvegcn import EvolveGCN, EvolveGCNSettings
from models.forecaster import Scaled, Scaler
from models.graph_comparators import StaticGCN
from models.graph_forecaster import GraphForecaster
from models.pace import Paced

B, W, H, N, F, S, C = 4, 10, 3, 6, 2, 4, 8
Sample = tuple[Tensor, Tensor, Tensor]


def forecaster(variant: str = "H", **settings: Any) -> GraphForecaster:
    """With weights that are no longer those of the start, where the last ones are zero."""
    torch.manual_seed(0)
    directed = settings.pop("directed", True)
    widths = [C, C, C]
    if variant == "gcn":
        encoder: EvolveGCN | StaticGCN = StaticGCN(widths, directed=directed)
    else:
        encoder = EvolveGCN(EvolveGCNSettings(variant, remedy="keep_norm", directed=directed), widths)  # type: ignore[arg-type]
    sizes: dict[str, Any] = {"window": W, "horizon": H, "nodes": N, "variables": F, "hidden": C, "lags": 2}
    chosen = {"snapshots": S, "is_dynamic": True, "directed": directed} | settings
    made = GraphForecaster(encoder, **sizes, **chosen)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return made.eval()


@pytest.fixture
def sample() -> Sample:
    torch.manual_seed(1)
    mask = torch.rand(B, W, N, F) > 0.2
    return torch.randn(B, W, N, F) * mask, mask, torch.rand(B, W + H, 3)


@pytest.fixture
def edges() -> Tensor:
    torch.manual_seed(2)
    return 3 * torch.rand(B, S, N, N) * (torch.rand(B, S, N, N) < 0.4)


@pytest.mark.parametrize("variant", ["H", "O", "gcn"])
@pytest.mark.parametrize("predict", ["value", "change"])
def test_relabelling_the_nodes_relabels_the_forecast(variant: str, predict: str, sample: Sample, edges: Tensor) -> None:
    x, mask, calendar = sample
    network = forecaster(variant, snapshots=1 if variant == "gcn" else S, predict=predict)
    read = edges[:, -network.edge_steps :]
    order = torch.randperm(N)
    straight = network(x, mask, calendar, read)
    relabelled = network(x[:, :, order], mask[:, :, order], calendar, read[:, :, order][..., order])
    torch.testing.assert_close(relabelled, straight[:, :, order], rtol=1e-4, atol=1e-5)


def test_each_window_has_its_own_edges(sample: Sample, edges: Tensor) -> None:
    network = forecaster()
    whole = network(*sample, edges)
    for i in range(B):
        alone = network(*(part[i : i + 1] for part in sample), edges[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(network(*sample, edges.flip(0)), whole)


@pytest.mark.parametrize("step", range(S))
def test_h_reads_the_edges_of_every_snapshot(step: int, sample: Sample, edges: Tensor) -> None:
    network, other = forecaster(), edges.clone()
    other[:, step] = 0
    assert not torch.allclose(network(*sample, other), network(*sample, edges), rtol=0, atol=1e-7)


def test_o_reads_those_of_the_last_snapshot_alone(sample: Sample, edges: Tensor) -> None:
    """So that it is a static GCN, as the documentation says."""
    network, other = forecaster("O"), edges.clone()
    other[:, :-1] = 0
    assert torch.equal(network(*sample, other), network(*sample, edges))
    other[:, -1] = 0
    assert not torch.allclose(network(*sample, other), network(*sample, edges))


@pytest.mark.parametrize("directed", [False, True])
def test_a_static_graph_is_the_same_edges_at_every_step(directed: bool, sample: Sample, edges: Tensor) -> None:
    graph = edges[0, 0] + edges[0, 0].T
    still = forecaster(is_dynamic=False, directed=directed)
    still.set_graph(graph)
    moving = forecaster(is_dynamic=True, directed=directed)
    moving.load_state_dict({k: v for k, v in still.state_dict().items() if k != "graph"})
    torch.testing.assert_close(still(*sample), moving(*sample, graph.expand(B, S, N, N)))


def test_the_direction_of_an_edge_counts(sample: Sample, edges: Tensor) -> None:
    network = forecaster()
    assert not torch.allclose(network(*sample, edges.mT), network(*sample, edges))


def test_edges_are_asked_for_and_passed_through(sample: Sample, edges: Tensor) -> None:
    network = forecaster()
    around = Scaled(Paced(network), Scaler(N, F))
    assert (network.edge_steps, around.edge_steps, forecaster(is_dynamic=False).edge_steps) == (S, S, 0)
    assert not torch.allclose(around(*sample, edges), around(*sample, 0 * edges))
    with pytest.raises(ValueError, match="reads the edges of each step"):
        network(*sample)
    with pytest.raises(ValueError, match="given its edges with every window"):
        network.set_graph(edges[0, 0])


def test_a_window_shorter_than_the_snapshots_and_the_lags_is_read_whole(sample: Sample, edges: Tensor) -> None:
    network = forecaster(snapshots=2 * W)
    assert network.edge_steps == W
    assert network(*sample, edges[:, :1].expand(B, W, N, N)).shape == (B, H, N, F)


def test_the_features_of_a_snapshot_are_its_newest_values(sample: Sample) -> None:
    """And nothing later: what comes after a step leaves its features alone."""
    x, mask, calendar = sample
    network = forecaster()
    later, seen = x.clone(), torch.ones_like(mask)
    later[:, -1] += 1
    one, other = (network._features(values, seen, calendar[:, :W]) for values in (x, later))
    assert torch.equal(one[:, :-1], other[:, :-1])
    assert not torch.allclose(one[:, -1], other[:, -1])


def test_a_gap_is_told_apart_from_the_value_that_fills_it(sample: Sample) -> None:
    x, mask, calendar = sample
    network, seen = forecaster(), torch.ones_like(mask)
    gap = seen.clone()
    gap[:, -1] = False
    one, other = (network._features(x, each, calendar[:, :W]) for each in (seen, gap))
    assert not torch.allclose(one[:, -1], other[:, -1])


@pytest.mark.parametrize("predict", ["value", "change"])
def test_an_untrained_network_forecasts_the_mean_or_the_last_value(predict: str, sample: Sample, edges: Tensor) -> None:
    torch.manual_seed(0)
    fresh = forecaster(predict=predict, profile=4)
    for layer in (fresh.output, fresh.line, fresh.profile.outer):  # type: ignore[union-attr]
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    x, _, calendar = sample
    expected = x[:, -1:].expand(-1, H, -1, -1) if predict == "change" else torch.zeros(B, H, N, F)
    assert torch.equal(fresh(x, torch.ones_like(x, dtype=torch.bool), calendar, edges), expected)


def test_every_weight_has_a_gradient(sample: Sample, edges: Tensor) -> None:
    network = forecaster(profile=4)
    network(*sample, edges).pow(2).sum().backward()
    assert not [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
