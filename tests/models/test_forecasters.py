"""What holds for every forecaster: shapes, units, and no look at what is not there."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.aggregations import make_aggregation
from models.baselines import Naive, Ridge, SeasonalNaive
from models.dlinear import DLinear
from models.evolvegcn import EvolveGCN, EvolveGCNSettings
from models.forecaster import Scaled, Scaler
from models.graph_comparators import StaticGCN
from models.graph_forecaster import GraphForecaster
from models.graph_recurrent import GraphRecurrent
from models.pace import Paced
from models.recurrent import RecurrentForecaster
from models.regenn import PanelAxes, RegennForecaster, RegennSettings
from models.stid import Stid

W, H, N, F = 12, 4, 3, 2
SIZES = {"horizon": H, "nodes": N, "variables": F}
STEPS = {"window": W, "horizon": H}


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    recurrent = {
        f"{cell}-{predict}": RecurrentForecaster(cell, hidden=8, predict=predict, **SIZES)
        for cell in ("lstm", "gru", "bilstm", "bigru")
        for predict in ("value", "change")
    }
    return recurrent | {
        "profile": RecurrentForecaster("gru", hidden=8, profile=4, **SIZES),
        "two layers": RecurrentForecaster("bigru", hidden=8, layers=2, dropout=0.1, **SIZES),
        "naive": Naive(H),
        "seasonal": SeasonalNaive(H, 6),
        "ridge": Ridge(window=W, joint=False, **SIZES),
        "joint ridge": Ridge(window=W, joint=True, **SIZES),
        "dlinear": DLinear(window=W, horizon=H, kernel=5),
        "regenn": RegennForecaster(RegennSettings(bias=True, output="Identity"), PanelAxes("nodes", N, F), **STEPS),
        "regenn without samples": RegennForecaster(
            RegennSettings(output="Identity"), PanelAxes("none", N, F), predict="change", **STEPS
        ),
        "paced": Paced(RegennForecaster(RegennSettings(output="Identity"), PanelAxes("nodes", N, F), **STEPS)),
        "evolvegcn": on_graph(EvolveGCN(EvolveGCNSettings("H"), [8, 8, 8]), predict="change"),
        "gcn": on_graph(StaticGCN([8, 8, 8]), profile=4),
        "graph-recurrent": on_graph(GraphRecurrent(8, lambda: make_aggregation("lcm", 8), layers=1)),
        "stid": Stid(window=W, slots_per_day=24, hidden=8, **SIZES),
    }


def on_graph(encoder: EvolveGCN | StaticGCN | GraphRecurrent, **settings: Any) -> GraphForecaster:
    """On a static graph, so that it is called as all are; tests/models/test_graph_forecaster.py has the rest."""
    made = GraphForecaster(
        encoder, hidden=8, snapshots=4, lags=2, is_dynamic=False, directed=False, window=W, **SIZES, **settings
    )
    made.set_graph(torch.ones(N, N))
    return made


@pytest.fixture(params=networks().items(), ids=lambda pair: pair[0])
def network(request: pytest.FixtureRequest) -> nn.Module:
    """With weights that are no longer those of the start, where some are zero on purpose."""
    _, made = request.param
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in [*made.parameters(), *made.buffers()]:
            weight.add_(0.1 * torch.randn_like(weight))
    return made.eval()


@pytest.fixture
def sample() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(2)
    mask = torch.rand(5, W, N, F) > 0.2
    hour = torch.arange(W + H).expand(5, -1)
    calendar = torch.stack([hour % 24 / 24, hour // 24 % 7, torch.zeros_like(hour)], dim=-1).float()
    return torch.randn(5, W, N, F) * mask, mask, calendar


def test_a_window_gives_a_horizon(network: nn.Module, sample: tuple[Tensor, Tensor, Tensor]) -> None:
    assert network(*sample).shape == (5, H, N, F)


def test_what_stands_where_nothing_was_observed_does_not_matter(
    network: nn.Module, sample: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, mask, calendar = sample
    noise = torch.where(mask, x, 1e3 * torch.randn_like(x))
    torch.testing.assert_close(network(noise, mask, calendar), network(x, mask, calendar))


def test_a_forecast_does_not_depend_on_its_batch_mates(
    network: nn.Module, sample: tuple[Tensor, Tensor, Tensor]
) -> None:
    whole = network(*sample)
    alone = network(*(part[2:3] for part in sample))
    torch.testing.assert_close(alone, whole[2:3])


def test_a_window_without_any_observation_gives_a_finite_forecast(
    network: nn.Module, sample: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, mask, calendar = sample
    assert network(torch.zeros_like(x), torch.zeros_like(mask), calendar).isfinite().all()


def test_scaling_goes_in_and_out(sample: tuple[Tensor, Tensor, Tensor]) -> None:
    """Fahrenheit in, Fahrenheit out: the same forecast as in Celsius, converted."""
    x, mask, calendar = sample
    network = RecurrentForecaster("gru", hidden=8, predict="change", **SIZES)
    nn.init.normal_(network.output.weight)
    celsius = Scaled(network, Scaler(N, F).fit(x.flatten(0, 1), mask.flatten(0, 1)))
    fahrenheit = Scaled(network, Scaler(N, F).fit(1.8 * x.flatten(0, 1) + 32, mask.flatten(0, 1)))
    torch.testing.assert_close(
        fahrenheit(1.8 * x + 32, mask, calendar), 1.8 * celsius(x, mask, calendar) + 32, rtol=1e-4, atol=1e-4
    )


def test_the_scaler_sees_observed_values_only() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 99.0]).reshape(4, 1, 1)
    mask = torch.tensor([True, True, True, False]).reshape(4, 1, 1)
    scaler = Scaler(1, 1).fit(values, mask)
    assert scaler.mean.item() == pytest.approx(2.0)
    assert scaler.std.item() == pytest.approx((2 / 3) ** 0.5)


@pytest.mark.parametrize("constant", [0.0, 5.0, 1e6])
def test_a_constant_series_is_scaled_by_one(constant: float) -> None:
    values = torch.full((9, 1, 1), constant)
    scaler = Scaler(1, 1).fit(values, torch.ones_like(values, dtype=torch.bool))
    assert scaler.std.item() == 1.0
    assert scaler.unscale(scaler.scale(values)).equal(values)
