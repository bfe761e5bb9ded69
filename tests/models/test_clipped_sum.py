"""Per-sample gradients against a loop over windows, and what one window may weigh."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models import clipped_sum
from models.clipped_sum import ClippedSum, looped_sum, tapped_sum, trainable, vmapped_sum
from models.dlinear import DLinear
from models.evolvegcn import EvolveGCN, EvolveGCNSettings
from models.forecaster import Scaled, Scaler
from models.graph_comparators import StaticGCN
from models.graph_forecaster import GraphForecaster
from models.per_sample_norm import Inputs, squared_norms
from models.recurrent import RecurrentForecaster
from models.regenn import PanelAxes, RegennForecaster, RegennSettings
from models.stid import Stid
from models.window_losses import WindowLosses

B, W, H, N, F = 5, 6, 3, 4, 2
SIZES = {"horizon": H, "nodes": N, "variables": F}
CELLS = ("gru", "lstm", "bigru", "bilstm")


def windows(count: int = B, scale: float = 1.0) -> list[Tensor]:
    """x, mask, calendar, y, y_mask, with gaps."""
    draw = torch.Generator().manual_seed(count)
    weekday = torch.randint(0, 7, (count, W + H, 2), generator=draw).float()
    calendar = torch.cat([torch.rand(count, W + H, 1, generator=draw), weekday], -1)
    x, y = (scale * torch.randn(count, steps, N, F, generator=draw, dtype=torch.float64) for steps in (W, H))
    mask, y_mask = (torch.rand(count, steps, N, F, generator=draw) > 0.1 for steps in (W, H))
    return [x * mask, mask, calendar, y * y_mask, y_mask]


def losses(network: nn.Module) -> WindowLosses:
    """At weights that are nowhere zero."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=draw))
    return WindowLosses(Scaled(network, Scaler(N, F)), functional.l1_loss).train()


def recurrent(cell: str, **settings: int) -> WindowLosses:
    torch.manual_seed(0)
    return losses(RecurrentForecaster(cell, hidden=8, **{"profile": 5, **SIZES, **settings}))


def on_graph(encoder: EvolveGCN | StaticGCN) -> GraphForecaster:
    made = GraphForecaster(encoder, hidden=8, snapshots=3, lags=2, is_dynamic=False, directed=False, window=W, **SIZES)
    made.set_graph(torch.ones(N, N))
    return made


def others() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "dlinear": DLinear(window=W, horizon=H, kernel=3),
        "stid": Stid(window=W, slots_per_day=24, hidden=8, dropout=0.0, **SIZES),
        "regenn": RegennForecaster(
            RegennSettings(bias=True, output="Identity", dropout=0.0), PanelAxes("nodes", N, F), window=W, horizon=H
        ),
        "evolvegcn": on_graph(EvolveGCN(EvolveGCNSettings("H"), [8, 8, 8])),
        "gcn": on_graph(StaticGCN([8, 8, 8])),
    }


def distance(found: ClippedSum, right: ClippedSum) -> float:
    parts = zip(found.gradients, right.gradients, strict=True)
    return max(float((f - r).norm() / r.norm().clamp(min=1e-9)) for f, r in parts)


def size(gradients: Sequence[Tensor]) -> float:
    return float(torch.stack([g.double().norm() for g in gradients]).norm())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_taps_sum_the_gradients_of_every_recurrence_as_a_loop_does(cell: str, layers: int) -> None:
    network = recurrent(cell, layers=layers)
    for max_grad_norm in (1e9, 0.5):
        right = looped_sum(network, windows(), max_grad_norm)
        found = tapped_sum(network, windows(), max_grad_norm)
        assert distance(found, right) < 1e-5
        assert bool((found.norms >= right.norms * (1 - 1e-6)).all()), "a norm read too small is not clipped"
        torch.testing.assert_close(found.norms, right.norms, rtol=5e-5, atol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_vmap_sums_the_gradients_of_every_recurrence_as_a_loop_does(cell: str) -> None:
    network = recurrent(cell, layers=2)
    assert distance(vmapped_sum(network, windows(), 0.5), looped_sum(network, windows(), 0.5)) < 1e-5


@pytest.mark.parametrize(("name", "network"), others().items(), ids=lambda part: part if isinstance(part, str) else "")
def test_vmap_sums_the_gradients_of_every_other_network_as_a_loop_does(
    name: str, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In three parts, the last of them smaller."""
    monkeypatch.setattr(clipped_sum, "MOST_AT_ONCE", 2)
    made = losses(network)
    assert distance(vmapped_sum(made, windows(), 0.5), looped_sum(made, windows(), 0.5)) < 1e-5


def test_a_layer_that_is_used_three_times_has_one_gradient() -> None:
    class Thrice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(self.layer(x).tanh()).tanh()).square().flatten(1).mean(1)

    torch.manual_seed(0)
    network, x = Thrice(), [torch.randn(B, 3, 4)]
    for max_grad_norm in (1e9, 0.1):
        assert distance(tapped_sum(network, x, max_grad_norm), looped_sum(network, x, max_grad_norm)) < 1e-5


@pytest.mark.parametrize("way", [tapped_sum, vmapped_sum, looped_sum])
@pytest.mark.parametrize("cell", ["gru", "bilstm"])
def test_no_window_weighs_more_than_the_clipping_norm(cell: str, way) -> None:  # type: ignore[no-untyped-def]
    network = recurrent(cell)
    for scale in (1.0, 1e6):
        for row in range(3):
            one = [part[row : row + 1] for part in windows(3, scale)]
            assert size(way(network, one, 0.1).gradients) <= 0.1 * (1 + 1e-3)


def test_a_gradient_whose_terms_cancel_is_not_read_too_small() -> None:
    """Large inputs, the same at all places, and gradients there that add up to almost nothing: a Gram matrix in single
    precision can make less than nothing of that, and an unclipped sum would weigh what rounding leaves of it."""

    class Balanced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 64, bias=False)

        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return (self.layer(x) * weight).sum((1, 2))

    for seed in range(10):
        torch.manual_seed(seed)
        x = (1e9 * torch.randn(1, 1, 64)).expand(1, 8, 64).contiguous()
        weight = torch.randn(1, 8, 64)
        weight = weight - weight.mean(1, keepdim=True)
        assert size(tapped_sum(Balanced(), [x, weight], 1.0).gradients) <= 1 + 1e-3


def test_roundings_that_all_go_one_way_make_no_norm_too_small() -> None:
    """Of two constant inputs, pulled up and down, the Gram matrices of a wide layer err by more than the margin: read
    in single precision alone the norm is 1.46 times too small."""
    up, down = 1.0095398426055908, 1.0065956115722656
    x = torch.tensor([up] * 12 + [down] * 12)[None, :, None].expand(1, 24, 512).contiguous()
    d = torch.tensor([1.0] * 12 + [-1.0] * 12)[None, :, None].expand(1, 24, 192).contiguous()
    right = (d.double().mT @ x.double()).square().sum((1, 2))
    assert bool((squared_norms([(d, [Inputs(x, is_biased=False)])]).double() >= right).all())


@pytest.mark.parametrize("way", [tapped_sum, vmapped_sum, looped_sum])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_window_without_a_finite_gradient_adds_nothing(bad: float, way) -> None:  # type: ignore[no-untyped-def]
    network, batch = recurrent("gru"), windows()
    without = way(network, [part[1:] for part in batch], 0.5)
    batch[0][0, 2, 1, 0] = bad
    batch[1][0] = True
    found = way(network, batch, 0.5)
    assert not found.norms[0].isfinite()
    assert distance(found, without) < 1e-6


@pytest.mark.parametrize("way", [tapped_sum, vmapped_sum, looped_sum])
def test_an_empty_batch_adds_nothing(way) -> None:  # type: ignore[no-untyped-def]
    network = recurrent("lstm")
    found = way(network, [part[:0] for part in windows()], 0.5)
    assert size(found.gradients) == 0
    assert [g.shape for g in found.gradients] == [p.shape for p in trainable(network).values()]


def test_tapping_leaves_no_trace_in_the_network() -> None:
    network = recurrent("bigru", layers=2)
    names, before = list(network.state_dict()), network(*windows())
    tapped_sum(network, windows(), 0.5)
    vmapped_sum(network, windows(), 0.5)
    assert list(network.state_dict()) == names
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    torch.testing.assert_close(network(*windows()), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_tapped_recurrence_computes_what_the_fused_does(kind: type[nn.GRU | nn.LSTM], bidirectional: bool) -> None:
    """All its states and the last ones, and the gradients of both, with and without biases."""

    class Read(nn.Module):
        def __init__(self, bias: bool) -> None:
            super().__init__()
            self.rnn = kind(3, 5, 2, bias=bias, batch_first=True, bidirectional=bidirectional)

        def forward(self, x: Tensor) -> Tensor:
            states, last = self.rnn(x)
            ends = last if isinstance(last, tuple) else (last,)
            return states.square().flatten(1).sum(1) + sum(end.square().sum((0, 2)) for end in ends)

    for bias in (True, False):
        torch.manual_seed(0)
        network, x = Read(bias), [torch.randn(B, 7, 3)]
        assert distance(tapped_sum(network, x, 1e9), looped_sum(network, x, 1e9)) < 1e-5
        assert distance(vmapped_sum(network, x, 1e9), looped_sum(network, x, 1e9)) < 1e-5
