import dataclasses

import pytest
import torch
from torch import Tensor

from models import flow_forecaster
from models.adjacency import block_diagonal, dense_directed_adjacency, directed_adjacency
from models.flow_forecaster import FlowForecaster, FlowSettings

B, W, H, N = 2, 5, 3, 4
LIKELIHOODS = ("poisson", "negative_binomial", "zero_inflated", "mse")
ANY_LIKELIHOOD = pytest.mark.parametrize("likelihood", LIKELIHOODS)
ANY_KIND = pytest.mark.parametrize(
    "settings",
    [FlowSettings(hidden=6, profile=8, variant=v, graph=g) for v in ("H", "O") for g in ("window", "frozen")],
    ids=lambda s: f"{s.variant}-{s.graph}",
)


def window(seed: int = 0, nodes: int = N, rate: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.poisson(torch.full((B, W, nodes, nodes), rate), generator=draw)
    calendar = torch.rand(B, W + H, 3, generator=draw)
    calendar[..., 1] = (7 * calendar[..., 1]).floor()
    return x, torch.ones_like(x, dtype=torch.bool), calendar


def stirred(settings: FlowSettings, nodes: int = N, *, seed: int = 0, fitted: bool = True) -> FlowForecaster:
    """Every parameter away from its start, which is zero for many."""
    torch.manual_seed(seed)
    network = FlowForecaster(settings, window=W, horizon=H, nodes=nodes)
    if fitted:
        values = torch.poisson(torch.full((50, nodes, nodes), 3.0)) * torch.rand(nodes, nodes)
        network.learn_from(values, torch.ones_like(values, dtype=torch.bool))
        network.set_distances(10 * torch.rand(nodes, nodes))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.double().eval()


def called(network: FlowForecaster, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
    return network(x.double(), mask, calendar.double())


def test_untrained_the_forecast_is_the_training_mean() -> None:
    network = FlowForecaster(FlowSettings(likelihood="poisson"), window=W, horizon=H, nodes=N)
    values = torch.poisson(torch.full((50, N, N), 2.0))
    network.learn_from(values, torch.ones_like(values, dtype=torch.bool))
    forecast = network(*window())
    expected = (values.sum(0) + 0.5) / 51
    torch.testing.assert_close(forecast, expected.expand(B, H, -1, -1))


def test_the_training_mean_is_that_of_observed_steps() -> None:
    network = FlowForecaster(FlowSettings(likelihood="poisson"), window=W, horizon=H, nodes=N)
    values = torch.poisson(torch.full((50, N, N), 2.0))
    mask = torch.arange(50) < 20
    network.learn_from(values * mask[:, None, None], mask[:, None, None].expand_as(values))
    expected = (values[:20].sum(0) + 0.5) / 21
    torch.testing.assert_close(network(*window()), expected.expand(B, H, -1, -1))
    torch.testing.assert_close(network.frozen, values[:20].mean(0).log1p())


@ANY_KIND
def test_relabelling_the_zones_only_relabels_the_forecast(settings: FlowSettings) -> None:
    """What is known of each zone and pair is relabelled along with them."""
    network, (x, mask, calendar) = stirred(settings), window()
    straight = called(network, x, mask, calendar)
    order = torch.tensor([2, 0, 3, 1])
    pairs = torch.arange(N * N).view(N, N)[order][:, order].flatten()
    zones = torch.arange(2 * N).view(N, 2)[order].flatten()
    with torch.no_grad():
        for buffer in (network.usual.level, network.frozen, network.distance):
            buffer.copy_(buffer[order][:, order].clone())
        for outer, places in ((network.usual.pairs.outer, pairs), (network.usual.zones.outer, zones)):
            outer.weight.copy_(outer.weight[places].clone())
            outer.bias.copy_(outer.bias[places].clone())
    relabelled = called(network, x[:, :, order][..., order], mask, calendar)
    torch.testing.assert_close(relabelled, straight[:, :, order][..., order], atol=1e-10, rtol=1e-10)


@ANY_KIND
def test_the_calendar_of_a_lead_time_moves_that_lead_alone(settings: FlowSettings) -> None:
    network, (x, mask, calendar) = stirred(settings), window()
    other = calendar.clone()
    other[:, W + 1, 0] += 0.3
    moved = (called(network, x, mask, calendar) - called(network, x, mask, other)).abs().amax(dim=(0, 2, 3))
    assert moved[1] > 1e-6
    assert moved[[0, 2]].max() == 0


def test_direction_counts() -> None:
    network, (x, mask, calendar) = stirred(FlowSettings(hidden=6, profile=0), fitted=False), window()
    one, other = called(network, x, mask, calendar), called(network, x.mT, mask, calendar)
    assert (one - other.mT).abs().max() > 1e-6


def test_the_network_of_an_earlier_step_matters_to_h_alone_and_not_where_it_is_frozen() -> None:
    """Two networks with the same totals of every zone and the same flows of the pair that is looked at."""
    x, mask, calendar = window(nodes=6)
    swapped = x.clone()
    swap = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    swapped[:, 1, 2:4, 4:6] += 5 * swap
    x[:, 1, 2:4, 4:6] += 5  # so that nothing falls below zero
    swapped[:, 1, 2:4, 4:6] += 5
    for settings, moves in (
        (FlowSettings(hidden=6, variant="H"), True),
        (FlowSettings(hidden=6, variant="O"), False),
        (FlowSettings(hidden=6, variant="H", graph="frozen"), False),
    ):
        network = stirred(settings, nodes=6)
        difference = (called(network, x, mask, calendar) - called(network, swapped, mask, calendar)).abs()
        assert bool(difference[:, :, 0, 1].max() > 1e-9) is moves, settings


@ANY_KIND
def test_what_was_not_observed_has_no_say(settings: FlowSettings) -> None:
    network, (x, mask, calendar) = stirred(settings), window()
    mask[:, 2] = False
    other = x.clone()
    other[:, 2] = 1e3
    assert torch.equal(called(network, x, mask, calendar), called(network, other, mask, calendar))


@ANY_LIKELIHOOD
def test_no_flow_anywhere_is_forecast_as_almost_none(likelihood: str) -> None:
    settings = FlowSettings(hidden=6, profile=8, likelihood=likelihood)
    network = FlowForecaster(settings, window=W, horizon=H, nodes=N)
    nothing = torch.zeros(50, N, N)
    network.learn_from(nothing, torch.ones_like(nothing, dtype=torch.bool))
    x, mask, calendar = window(rate=0.0)
    y, seen = torch.zeros(B, H, N, N), torch.ones(B, H, N, N, dtype=torch.bool)
    before = network.loss(x, mask, calendar, y, seen)
    before.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    assert 0 <= network(x, mask, calendar).max() < 0.02


@ANY_LIKELIHOOD
def test_every_parameter_gets_a_gradient_and_learning_lowers_the_loss(likelihood: str) -> None:
    torch.manual_seed(0)
    network = FlowForecaster(FlowSettings(hidden=6, profile=8, likelihood=likelihood), window=W, horizon=H, nodes=N)
    x, mask, calendar = window()
    y, seen = torch.poisson(torch.full((B, H, N, N), 6.0)), torch.ones(B, H, N, N, dtype=torch.bool)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    losses, reached = [], set()
    for _ in range(8):
        loss = network.loss(x, mask, calendar, y, seen)
        optimizer.zero_grad()
        loss.backward()
        reached |= {name for name, p in network.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.05
    assert reached == {name for name, _ in network.named_parameters()}


@ANY_LIKELIHOOD
def test_the_loss_is_of_observed_targets_alone(likelihood: str) -> None:
    network, (x, mask, calendar) = stirred(FlowSettings(hidden=6, profile=8, likelihood=likelihood)), window()
    y, seen = torch.poisson(torch.full((B, H, N, N), 3.0)), torch.rand(B, H, N, N) < 0.5
    other = torch.where(seen, y, 77.0)
    args = x.double(), mask, calendar.double()
    assert torch.equal(network.loss(*args, y, seen), network.loss(*args, other, seen))
    assert not torch.equal(network.loss(*args, y, ~seen), network.loss(*args, other, ~seen))


def test_the_forecast_is_the_mean_of_the_law_that_was_fitted() -> None:
    network, given = stirred(FlowSettings(hidden=6, profile=8, likelihood="zero_inflated")), window()
    x, mask, calendar = given[0].double(), given[1], given[2].double()
    log_rate, logit = network.law(x, mask, calendar)
    law = flow_forecaster.zero_inflated(torch.arange(400.0).double(), log_rate[..., None], logit[:, None, ..., None])
    mean = (law.exp() * torch.arange(400.0).double()).sum(-1)
    torch.testing.assert_close(network(x, mask, calendar), mean)


def test_pairs_that_go_through_the_head_in_parts_are_forecast_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    network, (x, mask, calendar) = stirred(FlowSettings(hidden=6, profile=8)), window()
    whole = called(network, x, mask, calendar)
    monkeypatch.setattr(flow_forecaster, "MOST_PAIRS", 1)
    torch.testing.assert_close(called(network, x, mask, calendar), whole, atol=1e-12, rtol=1e-12)


def test_distance_and_the_same_zone_are_read() -> None:
    network, (x, mask, calendar) = stirred(FlowSettings(hidden=6, profile=8)), window()
    near = called(network, x, mask, calendar)
    far = network.distance.clone()
    far[0, 1] += 3
    network.distance.copy_(far)
    moved = (called(network, x, mask, calendar) - near).abs().amax(dim=(0, 1))
    assert moved[0, 1] > 1e-6
    assert moved.count_nonzero() == 1


@pytest.mark.parametrize("batch", [1, 3])
def test_the_dense_adjacency_is_the_sparse_one_of_the_same_flows(batch: int) -> None:
    weights = torch.rand(batch, N, N, dtype=torch.float64) * (torch.rand(batch, N, N) < 0.6)
    edges = [each.nonzero().T for each in weights]
    slow = block_diagonal([directed_adjacency(e, w[tuple(e)], nodes=N) for e, w in zip(edges, weights, strict=True)], N)
    for ours, theirs in zip(dense_directed_adjacency(weights).operators, slow.operators, strict=True):
        torch.testing.assert_close(ours.matrix.to_dense(), theirs.matrix.to_dense())
        torch.testing.assert_close(ours.transposed.to_dense(), theirs.transposed.to_dense())


def test_settings_are_told_apart_by_what_is_learnt() -> None:
    """A second parameter exists for the laws that have one, and a profile where there is a calendar."""
    names = {
        likelihood: {name for name, _ in stirred(FlowSettings(hidden=6, likelihood=likelihood)).named_parameters()}
        for likelihood in LIKELIHOODS
    }
    assert names["poisson"] == names["mse"]
    assert names["negative_binomial"] - names["poisson"] == {"second.weight", "second.bias"}
    bare = stirred(dataclasses.replace(FlowSettings(hidden=6), profile=0))
    assert not any(name.startswith("usual") for name, _ in bare.named_parameters())
