"""ReGENN against known figures, laws and its own arithmetic. Figures are those of the authors' network in float64."""

import dataclasses
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian as jacobian_of

from models.graph_evolution import GraphEvolution, TimeMap, cooccurrence, cooccurrence_graph
from models.regenn import (
    PanelAxes,
    Regenn,
    RegennForecaster,
    RegennSettings,
    SummedRecurrence,
    strongest_relations,
)
from models.regenn_reference import (
    RegennReference,
    Scale,
    averaged_errors,
    batch_graph,
    clip_gradients,
    cut_starts,
    errors_of,
    forecast_at,
    leaky_scale,
    train_epoch,
    training_scale,
)

W, H, V = 4, 2, 3
SIZES = {"window": W, "horizon": H, "variables": V}
GOLDEN = {"atol": 1e-7, "rtol": 0}
EXACT = {"atol": 1e-12, "rtol": 0}
BASE = RegennSettings(autoregression=True, bias=True, dropout=0.0, output="Identity")
ENCODER = ("self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj.weight", "self_attn.out_proj.bias")
ENCODER += ("linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias")
ENCODER += ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias")
RNN = tuple(
    f"rnn.{kind}_l0{way}" for way in ("", "_reverse") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
)
FILL_ORDER = (
    *(f"source.{each}" for each in ("time.bias", "cosine_bias", "graph_bias", "time.weight")),
    *(f"source.{each}" for each in ("cosine_weight", "graph_weight")),
    *(f"encoder.layer.{each}" for each in ENCODER),
    *(f"gate.{each}" for each in RNN),
    *(f"sequencer.recurrence.{each}" for each in RNN),
    *(f"target.{each}" for each in ("cosine_bias", "graph_bias", "cosine_weight", "graph_weight")),
    "autoregression.bias",
    "autoregression.weight",
)


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def waves(samples: int = 3, steps: int = W, variables: int = V) -> Tensor:
    n, t, v = torch.meshgrid(*(torch.arange(size) for size in (samples, steps, variables)), indexing="ij")
    return (0.5 * n + 0.9 * t + 1.3 * v).sin().clamp(min=0)


def fill(module: nn.Module, order: tuple[str, ...] = FILL_ORDER) -> nn.Module:
    parameters = dict(module.named_parameters())
    present = [name for name in order if name in parameters]
    assert set(present) == set(parameters)
    with torch.no_grad():
        for k, name in enumerate(present):
            size = parameters[name].numel()
            wave = 0.3 * (0.7 * torch.arange(1, size + 1) + k).sin() + (
                1.0 if "norm" in name and "weight" in name else 0
            )
            parameters[name].copy_(wave.view_as(parameters[name]))
    return module


def reference(**changes: object) -> RegennReference:
    model = RegennReference(dataclasses.replace(BASE, **changes), **SIZES)
    fill(model.network)
    return model


def random_network(**changes: object) -> RegennReference:
    return RegennReference(dataclasses.replace(BASE, **changes), **SIZES)


# ---------------------------------------------------------------- known figures


def test_the_graph_is_the_known_one() -> None:
    expected = [[1.97494779, 4.06352079, 0.47942554], [2.99700979, 0, 1.93740582], [0.04158066, 0.55708203, 0]]
    torch.testing.assert_close(batch_graph(waves()), torch.tensor(expected), **GOLDEN)
    single = torch.tensor([[[5.0, 0, 1], [4, 0, 0], [0, 2, 0], [3, 1, 0]]])
    assert batch_graph(single).tolist() == [[4, 3, 5], [1, 2, 0], [1, 0, 0]]


def test_a_graph_layer_and_a_highway_give_the_known_figures() -> None:
    order = ("time.bias", "cosine_bias", "graph_bias", "time.weight", "cosine_weight", "graph_weight")
    layer = fill(GraphEvolution(V, steps=W, bias=True), order)
    evolved = layer.evolve(batch_graph(waves()))
    hidden = [[0.95341558, 1.03794761, 0.69461769], [-0.83771513, -0.50820974, 0.02425914]]
    hidden += [[-0.08547133, -0.11058243, -0.19913944]]
    weights = [[-0.00247753, 0.39974274, 0.06030721], [-0.30958750, -0.01185904, -0.11949812]]
    weights += [[-0.24372319, 0.06649271, 0.02482524]]
    torch.testing.assert_close(evolved.hidden, torch.tensor(hidden), **GOLDEN)
    torch.testing.assert_close(evolved.weights, torch.tensor(weights), **GOLDEN)
    first = [[0.14850534, 0.19517701, 0.17748812], [0.25089685, 0.29655520, 0.27208530]]
    first += [[0.23528766, 0.25845884, 0.23871651], [0.10901900, 0.09880525, 0.09307561]]
    output = layer(waves(), batch_graph(waves()))
    torch.testing.assert_close(output[0], torch.tensor(first), **GOLDEN)
    assert output.sum().item() == pytest.approx(7.11469415, abs=1e-7)

    highway = fill(TimeMap(W, H, bias=True), ("bias", "weight"))(waves())
    first = [[-0.13048914, 0.47781477, 0.34662668], [-0.06631162, 0.33146348, 0.40009558]]
    torch.testing.assert_close(highway[0], torch.tensor(first), **GOLDEN)
    assert highway.sum().item() == pytest.approx(4.82677467, abs=1e-7)


BOTH_WAYS = {"bidirectional_gate": True, "bidirectional_sequencer": True}
KNOWN = {
    "base": (
        {},
        [[-0.32168949, 0.38804961, -0.14619346], [-0.31968963, 0.59178330, 0.13182524]],
        (1.22108791, 3.94354810),
    ),
    "ReLU output": (
        {"output": "ReLU"},
        [[0, 0.38804961, 0], [0, 0.59178330, 0.13182524]],
        (2.58231800, 2.58231800),
    ),
    "bias off": (
        {"bias": False},
        [[-0.26919591, -0.10920549, 0.07227732], [-0.10606202, -0.36891178, -0.06002578]],
        (-2.34042232, 2.82001763),
    ),
    "bidirectional": (
        BOTH_WAYS,
        [[-0.15725810, 0.47016763, 0.41143368], [0.07013978, 0.15973472, 0.32102923]],
        (4.50127889, 4.81579510),
    ),
    "no encoder": (
        {"feedforward": None},
        [[-0.24177626, 0.43335015, 0.00458541], [-0.19693339, 0.55084644, 0.31360771]],
        (3.18854999, 4.50265038),
    ),
    "no sequencer": (
        {"sequencer": None},
        [[0.15268923, 0.11550741, 0.28553908], [0.11317721, -0.09834217, 0.19417807]],
        (2.67002871, 3.09565857),
    ),
    "no autoregression": (
        {"autoregression": False},
        [[-0.25019496, 0.26221669, 0.00735798], [-0.18711647, 0.19665124, 0.00781640]],
        (0.11017796, 2.73408536),
    ),
    "no graph evolution": (
        {"graph_evolution": False},
        [[-0.28509791, -0.22734177, 0.03549686], [-0.06049047, -0.35071328, 0.09943304]],
        (-2.17970836, 3.07705494),
    ),
    "GRU": (
        {"gate": "gru", "sequencer": "gru"},
        [[-0.58289321, 0.66710941, -0.22761261], [-0.40345256, 0.68541063, 0.06416605]],
        (0.85702919, 6.21407628),
    ),
    "Tanh evolution": (
        {"evolution": "Tanh"},
        [[-0.32169125, 0.38805133, -0.14619142], [-0.31967842, 0.59177196, 0.13181880]],
        (1.22107129, 3.94350138),
    ),
    "attention over variables": (
        {"attention_axis": "variable"},
        [[-0.32169899, 0.38805861, -0.14617878], [-0.31966052, 0.59175745, 0.13175765]],
        (1.22093181, 3.94334412),
    ),
}


@pytest.mark.parametrize("variant", KNOWN)
def test_the_whole_network_gives_the_known_figures(variant: str) -> None:
    changes, first, (total, absolute) = KNOWN[variant]
    output = reference(**changes)(waves())
    torch.testing.assert_close(output[0], torch.tensor(first), **GOLDEN)
    assert output.sum().item() == pytest.approx(total, abs=1e-7)
    assert output.abs().sum().item() == pytest.approx(absolute, abs=1e-7)


def test_every_block_and_gradient_has_its_known_figures() -> None:
    model = reference()
    seen: dict[str, Tensor] = {}
    for name in ("encoder", "gate", "sequencer"):
        module = model.network.get_submodule(name)
        module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output[0, 0]}))
    (model(waves()) ** 2).sum().backward()
    expected = {
        "encoder": [
            [0.93810859, -0.17840219, -0.77774474, -0.22768666],
            [0.93552030, -0.17070683, -0.78133154, -0.23063648],
            [0.93624718, -0.17262710, -0.78015229, -0.23035889],
        ],
        "gate": [[-0.16278356, -0.03018400], [-0.21135709, -0.06379028], [-0.22793556, -0.08758257]],
        "sequencer": [[-0.25537586, -0.37880896, -0.36188179], [-0.18511316, -0.30773265, -0.25674143]],
    }
    for name, figures in expected.items():
        torch.testing.assert_close(seen[name], torch.tensor(figures), **GOLDEN)
    target = [[0.12399650, 0.18624422, 0.23755169], [0.15839174, 0.04094235, -0.11344705]]
    target += [[-0.24407016, -0.22549053, -0.20456373]]
    evolved = model.network.target.evolve(model.target_graph)
    torch.testing.assert_close(evolved.hidden, torch.tensor(target), **GOLDEN)
    gradients = {
        "source.time.weight": -0.00030541,
        "source.cosine_weight": -0.00054956,
        "source.graph_weight": -0.00133012,
        "gate.rnn.weight_ih_l0": 0.27294251,
        "target.cosine_weight": -1.20077431,
        "target.graph_weight": -2.38891248,
    }
    for name, figure in gradients.items():
        assert model.network.get_parameter(name).grad.sum().item() == pytest.approx(figure, abs=1e-7), name


# ---------------------------------------------------------------- samples and variables


def test_only_the_encoder_couples_the_samples() -> None:
    for feedforward in (2048, None):
        model = random_network(feedforward=feedforward)
        model(waves())
        jacobian = jacobian_of(model.eval(), waves())  # [N, H, V, N, W, V]
        coupling = jacobian.abs().amax(dim=(1, 2, 4, 5))[~torch.eye(3, dtype=torch.bool)]
        assert bool(coupling.any()) == (feedforward is not None)

    model = reference()
    together = model(waves())
    alone = model.eval()(waves()[:1])[0]
    expected = [[-0.32169691, 0.38805674, -0.14618372], [-0.31966677, 0.59176230, 0.13177573]]
    torch.testing.assert_close(alone, torch.tensor(expected), **GOLDEN)
    assert (alone - together[0]).abs().max() > 1e-6


def test_permuting_the_samples_permutes_the_forecasts() -> None:
    model = random_network()
    x = waves(7)
    model(x)
    model.eval()
    order = torch.randperm(7)
    torch.testing.assert_close(model(x[order]), model(x)[order], **EXACT)


def test_the_order_of_the_variables_matters_and_each_reads_all() -> None:
    model = random_network()
    x = torch.rand(3, W, V)
    model(x)
    model.eval()
    order = torch.tensor([1, 2, 0])
    assert (model(x[..., order]) - model(x)[..., order]).abs().max() > 1e-3
    jacobian = jacobian_of(model, x)
    assert jacobian.abs().amax(dim=(0, 1, 3, 4)).min() > 0


def test_attention_runs_over_the_axis_that_was_chosen() -> None:
    for axis, couples_samples in (("sample", True), ("variable", False)):
        encoder = random_network(attention_axis=axis).network.encoder
        jacobian = jacobian_of(encoder, torch.rand(1, 3, V, W))[0, :, :, :, 0]  # [S, V, W, S, V, W]
        reads = jacobian.abs().amax(dim=(2, 5)) > 0  # [S, V, S, V]
        assert reads[0, 0, 1, 0] == couples_samples
        assert reads[0, 0, 0, 1] != couples_samples


# ---------------------------------------------------------------- the graph


def test_the_cosine_ignores_the_length_of_the_graph_s_rows() -> None:
    layer = GraphEvolution(V)
    graph = torch.rand(V, V)
    for stretch in (torch.tensor(7.0), torch.tensor([[1e-3], [2.0], [50.0]])):
        plain, stretched = layer.evolve(graph), layer.evolve(stretch * graph)
        torch.testing.assert_close(stretched.cosine, plain.cosine, **EXACT)
        torch.testing.assert_close(stretched.weights, plain.weights, **EXACT)
    torch.testing.assert_close(plain.cosine, plain.cosine.T, **EXACT)
    torch.testing.assert_close(plain.cosine.diagonal(), torch.ones(V), **EXACT)
    assert plain.cosine.abs().max() <= 1 + 1e-12


def test_the_graph_grows_in_the_first_epoch_and_is_frozen_after() -> None:
    model = random_network()
    first, second = torch.rand(3, W, V), torch.rand(40, W, V)
    model(first, 0)
    model(second, 1)
    grown = batch_graph(first) + batch_graph(second)
    assert torch.equal(model.graph, grown)
    model(first, 0)
    model.eval()(second, 2)
    assert torch.equal(model.graph, grown)
    copy = random_network()
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy.graph, grown)
    assert torch.equal(copy.target_graph, model.target_graph)


def test_the_graph_of_many_samples_is_the_sum_over_blocks_of_32() -> None:
    x = torch.rand(70, W, V) - 0.3
    x[:32, :, 1:] = 0  # variable 0 is alone in the first block, so that the loops tell the blocks apart
    blocks = [cooccurrence(block, block > 0) for block in x.split(32)]
    torch.testing.assert_close(batch_graph(x), sum(blocks), **EXACT)
    assert not torch.allclose(batch_graph(x), cooccurrence(x, x > 0))


def test_no_gradient_reaches_a_graph_and_a_finite_one_reaches_every_weight() -> None:
    graph = torch.rand(V, V, requires_grad=True)
    assert torch.autograd.grad(GraphEvolution(V)(waves(), graph).sum(), graph, allow_unused=True) == (None,)
    for changes in ({}, BOTH_WAYS, {"gate": "gru", "sequencer": "rnn"}):
        model = random_network(**changes)
        x = torch.rand(5, W, V)
        x[:, 1, 0] = 0  # so that a variable is absent at times
        (model(x) ** 2).sum().backward()
        for graph in (model.graph, model.target_graph, model.network.hidden_graph(model.graph)):
            assert not graph.requires_grad
        for name, weight in model.named_parameters():
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
            assert weight.grad.any(), name


def test_evaluation_equals_training_where_nothing_was_updated() -> None:
    for network in (random_network(), forecaster()):
        x = torch.rand(3, W, V) if isinstance(network, RegennReference) else window_of(2)
        trained = network(x) if isinstance(network, RegennReference) else network(*x)
        network.eval()
        assert torch.equal(network(x) if isinstance(network, RegennReference) else network(*x), trained)


def test_the_stale_target_graph_is_the_reference_s_alone() -> None:
    stale, current = random_network(), forecaster()
    stale(torch.rand(3, W, V))
    before = stale.target_graph.clone()
    with torch.no_grad():
        stale.network.source.graph_weight.add_(1)
        former = current.evolution_weights()[1]
        current.network.source.graph_weight.add_(torch.rand(V, V))
    stale.eval()(torch.rand(3, W, V))
    assert torch.equal(stale.target_graph, before)
    assert not torch.allclose(current.evolution_weights()[1], former)


@pytest.mark.parametrize(("output", "at_zero"), [("ReLU", 0.0), ("Sigmoid", 0.5)])
def test_an_untrained_reference_without_bias_knows_nothing(output: str, at_zero: float) -> None:
    model = random_network(bias=False, autoregression=False, output=output).eval()
    assert torch.equal(model(torch.rand(3, W, V)), torch.full((3, H, V), at_zero))


# ---------------------------------------------------------------- shapes and counts


def random_settings(generator: torch.Generator) -> tuple[RegennSettings, dict[str, int]]:
    def pick(*options: object) -> object:
        return options[int(torch.randint(len(options), (), generator=generator))]

    settings = RegennSettings(
        gate=pick("lstm", "gru", "rnn"),
        bidirectional_gate=pick(True, False),
        sequencer=pick("lstm", "gru", "rnn", None),
        bidirectional_sequencer=pick(True, False),
        feedforward=pick(2048, 2048, 16, None),
        attention_axis=pick("sample", "variable"),
        graph_evolution=pick(True, True, False),
        autoregression=pick(True, False),
        bias=pick(True, False),
    )
    low_high = {"window": (1, 15), "horizon": (1, 15), "variables": (2, 13)}
    return settings, {
        name: int(torch.randint(low, high, (), generator=generator)) for name, (low, high) in low_high.items()
    }


def arithmetic(settings: RegennSettings, *, window: int, horizon: int, variables: int) -> int:
    w, s, v, b = window, horizon, variables, int(settings.bias)
    gates = {"lstm": 4, "gru": 3, "rnn": 1}
    total = gates[settings.gate] * (1 + settings.bidirectional_gate) * (s * w + s * s + 2 * s * b)
    if settings.graph_evolution:
        total += w * w + 2 * v * v + b * (w + v * v + v) + 2 * v * v + b * (v * v + v)
    if settings.feedforward == 2048:
        total += 4 * w * w + 4105 * w + 2048
    elif settings.feedforward:
        total += 4 * w * w + (2 * settings.feedforward + 9) * w + settings.feedforward
    if settings.sequencer:
        total += gates[settings.sequencer] * (1 + settings.bidirectional_sequencer) * (2 * v * v + 2 * v * b)
    return total + (w * s + b * s if settings.autoregression else 0)


def test_parameters_and_shapes_follow_the_arithmetic_in_any_configuration() -> None:
    generator = torch.Generator().manual_seed(3)
    torch.set_default_dtype(torch.float32)
    for _ in range(250):
        settings, sizes = random_settings(generator)
        network = Regenn(settings, **sizes)
        assert sum(each.numel() for each in network.parameters()) == arithmetic(settings, **sizes), (settings, sizes)
        batch, samples = (int(each) for each in torch.randint(1, 4, (2,), generator=generator))
        graph = torch.rand(sizes["variables"], sizes["variables"])
        x = torch.rand(batch, samples, sizes["window"], sizes["variables"])
        assert network(x, graph, graph).shape == (batch, samples, sizes["horizon"], sizes["variables"])


PLAIN = RegennSettings(autoregression=True, bias=True)
GRUS = dataclasses.replace(PLAIN, gate="gru", sequencer="gru")
SMALLEST = RegennSettings(bias=True, graph_evolution=False, feedforward=None, sequencer=None)


@pytest.mark.parametrize(
    ("settings", "sizes", "expected"),
    [
        (PLAIN, (14, 7, 3), 61_417),
        (dataclasses.replace(PLAIN, bias=False), (14, 7, 3), 61_292),
        (dataclasses.replace(PLAIN, **BOTH_WAYS), (14, 14, 3), 64_334),
        (GRUS, (12, 6, 12), 54_302),
        (SMALLEST, (14, 7, 3), 644),
        (PLAIN, (4, 2, 3), 18_782),
    ],
)
def test_parameter_counts_are_the_authors(settings: RegennSettings, sizes: tuple[int, ...], expected: int) -> None:
    network = Regenn(settings, **dict(zip(("window", "horizon", "variables"), sizes, strict=True)))
    assert sum(each.numel() for each in network.parameters()) == expected


def test_two_directions_are_added_up() -> None:
    recurrence = SummedRecurrence("gru", 3, 5, bidirectional=True, bias=True)
    x = torch.rand(2, 4, 6, 3)
    forward, backward = recurrence.rnn(x.flatten(0, 1))[0].chunk(2, dim=-1)
    assert torch.equal(recurrence(x), (forward + backward).unflatten(0, (2, 4)))


# ---------------------------------------------------------------- the paper's protocol


def test_ranges_are_those_of_the_paper_and_no_targets_overlap() -> None:
    starts = cut_starts(20, window=4, horizon=3, reserved=2)
    assert (starts.train, starts.validation, starts.test) == (range(9), 11, 13)
    train = {step for start in starts.train for step in range(start + 4, start + 7)}
    assert max(train) == 14
    assert not train & set(range(15, 17)) | set(range(15, 17)) & set(range(17, 20))
    assert cut_starts(20, window=4, horizon=3, reserved=0).validation is None
    assert cut_starts(4 + 2 + 6, window=4, horizon=3, reserved=2).train == range(1)
    with pytest.raises(ValueError, match="need 12 steps, not 11"):
        cut_starts(11, window=4, horizon=3, reserved=2)
    with pytest.raises(ValueError, match="must be 0 to 3"):
        cut_starts(40, window=4, horizon=3, reserved=4)


STEPS, RESERVED = 16, 1


def learnt(values: Tensor, scale: Scale) -> RegennReference:
    torch.manual_seed(5)
    model = random_network(dropout=0.1, feedforward=8)
    starts = cut_starts(STEPS, window=W, horizon=H, reserved=RESERVED).train
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    train_epoch(model, values, scale, optimizer, starts=starts, window=W, horizon=H, batch_size=2)
    return model


def noisy_from(values: Tensor, step: int) -> Tensor:
    return torch.cat([values[:, :step], 1000 * torch.rand_like(values[:, step:])], dim=1)


def test_nothing_learnt_or_forecast_knows_the_future() -> None:
    values = 50 * torch.rand(5, STEPS, V)
    before_test, before_validation = STEPS - H, STEPS - H - RESERVED
    scale = training_scale(values, end=before_validation)
    model = learnt(values, scale)
    test = {"start": before_test - W, "window": W, "horizon": H}
    for step in (before_test, before_validation):
        noisy = noisy_from(values, step)
        again = training_scale(noisy, end=before_validation)
        assert torch.equal(again.divisor, scale.divisor)
        other = learnt(noisy, again)
        for name, tensor in model.state_dict().items():
            assert torch.equal(other.state_dict()[name], tensor), name
        if step == before_test:
            assert torch.equal(forecast_at(other, noisy, again, **test), forecast_at(model, values, scale, **test))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_paper_s_scale_does_know_the_future_and_says_so(axis: int) -> None:
    values = 50 * torch.rand(5, STEPS, V)
    noisy = noisy_from(values, STEPS - H)
    scales = leaky_scale(values, axis=axis), leaky_scale(noisy, axis=axis)
    assert all(scale.leaky for scale in scales)
    assert not training_scale(values, end=9).leaky
    model = random_network()
    test = {"start": STEPS - H - W, "window": W, "horizon": H}
    model(scales[0].apply(values)[:, :W])
    forecasts = [forecast_at(model, each, scale, **test) for each, scale in zip((values, noisy), scales, strict=True)]
    assert not torch.allclose(*forecasts)


def test_each_sample_is_forecast_on_its_own_scale() -> None:
    values = torch.rand(5, STEPS, V) * torch.tensor([10.0, 20, 40, 80, 160])[:, None, None]
    scale = training_scale(values, end=9)
    model = random_network()
    model(scale.apply(values)[:, :W])
    forecast = forecast_at(model, values, scale, start=2, window=W, horizon=H)
    torch.testing.assert_close(forecast / scale.divisor, model(scale.apply(values)[:, 2 : 2 + W]), **EXACT)


def test_scaling_comes_back() -> None:
    values = (1000 * torch.rand(5, STEPS, V)).float()
    scales = [leaky_scale(values, kind, axis) for kind in ("maximum", "logarithm", "linear") for axis in range(3)]
    scales += [training_scale(values, end=9), training_scale(values, end=9, logarithm=True)]
    for scale in scales:
        back = scale.undo(scale.apply(values), torch.arange(5), slice(0, STEPS))
        torch.testing.assert_close(back, values, rtol=1e-6, atol=1e-3)
        part = scale.undo(scale.apply(values)[[3, 1], 9:11], torch.tensor([3, 1]), slice(9, 11))
        torch.testing.assert_close(part, values[[3, 1], 9:11], rtol=1e-6, atol=1e-3)


def test_errors_are_the_known_ones_and_depend_on_the_batches() -> None:
    forecast = torch.tensor([[0.0, 10, 100], [5, 5, 5]])
    truth = torch.tensor([[1.0, 8, 130], [5, 0, 7]])
    whole = errors_of(forecast, truth)
    known = {"mae": 6.66667, "mse": 155.66667, "rmse": 12.47664, "male": 0.53889, "msle": 0.64692, "rmsle": 0.80431}
    assert whole == pytest.approx(known, abs=1e-5)
    rows = averaged_errors(zip(forecast, truth, strict=True))
    assert rows["rmse"] == pytest.approx(10.23884, abs=1e-5)
    assert rows["mae"] == pytest.approx(whole["mae"])


@pytest.mark.parametrize("length", [0.5, 9.999, 10.001, 400.0])
def test_clipping_leaves_a_norm_of_ten_at_most_exactly(length: float) -> None:
    weights = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(4))]
    raw = torch.randn(7)
    raw = raw * length / raw.norm()
    weights[0].grad, weights[1].grad = raw[:3].clone(), raw[3:].view(2, 2).clone()
    assert clip_gradients(weights, 10.0).item() == pytest.approx(length)
    after = torch.cat([weights[0].grad, weights[1].grad.flatten()])
    assert after.norm().item() == pytest.approx(min(length, 10.0), abs=1e-12)
    assert weights[2].grad is None


# ---------------------------------------------------------------- learning


def lagged(steps: int = 80) -> Tensor:
    """24 samples whose variable 1 is variable 0 three steps earlier, [24, T, 2]."""
    generator = torch.Generator().manual_seed(11)
    period = 6 + 6 * torch.rand(24, 1, generator=generator)
    phase = 2 * math.pi * torch.rand(24, 1, generator=generator)
    clock = torch.arange(-3, steps)
    wave = 0.5 + 0.4 * (2 * math.pi * clock / period + phase).sin()
    wave = wave + 0.02 * torch.randn(wave.shape, generator=generator)
    return torch.stack([wave[:, 3:], wave[:, :-3]], dim=-1).clamp(min=0).float()


def error_after_five_passes(values: Tensor, scale: Scale, seed: int) -> float:
    torch.manual_seed(seed)
    sizes = {"window": 12, "horizon": 4}
    starts = cut_starts(values.shape[1], reserved=0, **sizes)
    model = RegennReference(RegennSettings(), variables=2, **sizes)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(5):
        train_epoch(model, values, scale, optimizer, starts=starts.train, **sizes)
    return (forecast_at(model, values, scale, start=starts.test, **sizes) - values[:, -4:]).abs().mean().item()


def test_five_passes_beat_the_training_mean_and_a_model_that_sees_nothing_does_not() -> None:
    """The median of three starts: one in four of them has not learnt enough after 305 steps."""
    torch.set_default_dtype(torch.float32)
    values = lagged()
    bound = (values[:, :-4].mean(dim=(0, 1)) - values[:, -4:]).abs().mean().item()
    errors = [error_after_five_passes(values, leaky_scale(values, "linear"), seed) for seed in range(3)]
    assert sorted(errors)[1] < bound
    assert error_after_five_passes(values, Blind(torch.ones(1, 1, 1)), 0) > max(bound, 0.4)


class Blind(Scale):
    def apply(self, values: Tensor) -> Tensor:
        return torch.zeros_like(values)


# ---------------------------------------------------------------- the forecaster


def forecaster(**changes: object) -> RegennForecaster:
    """Five nodes with three variables each."""
    settings = dataclasses.replace(BASE, **changes)
    graph = cooccurrence_graph(waves(5, 30), torch.rand(5, 30, V) > 0.2)
    return RegennForecaster(settings, PanelAxes("nodes", 5, V), window=W, horizon=H, graph=graph)


def window_of(batch: int, nodes: int = 5, variables: int = V) -> tuple[Tensor, Tensor, Tensor]:
    mask = torch.rand(batch, W, nodes, variables) > 0.2
    return torch.rand(batch, W, nodes, variables) * mask, mask, torch.zeros(batch, W + H, 3)


def test_a_forecast_does_not_depend_on_its_batch_mates() -> None:
    model = forecaster(dropout=0.3).eval()
    x, mask, calendar = window_of(6)
    together = model(x, mask, calendar)
    for row in range(6):
        alone = model(x[row : row + 1], mask[row : row + 1], calendar[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], **EXACT)


def test_many_windows_in_a_step_are_the_reference_one_by_one() -> None:
    model = forecaster()
    x, mask, calendar = window_of(3)
    mask = torch.ones_like(mask)
    slow = RegennReference(BASE, **SIZES).eval()
    slow.network.load_state_dict(model.network.state_dict())
    slow.graph, slow.target_graph = model.graph, model.network.hidden_graph(model.graph)
    expected = torch.stack([slow(window.transpose(0, 1)).transpose(0, 1) for window in x])
    torch.testing.assert_close(model(x, mask, calendar), expected, **EXACT)


def test_what_was_not_observed_does_not_matter() -> None:
    model = forecaster()
    x, mask, calendar = window_of(3)
    torch.testing.assert_close(model(torch.where(mask, x, 9.0), mask, calendar), model(x, mask, calendar), **EXACT)


@pytest.mark.parametrize(("samples", "variables", "size"), [("nodes", 3, 3), ("none", 3, 15), ("none", 1, 5)])
def test_axes_say_what_is_a_sample_and_what_a_variable(samples: str, variables: int, size: int) -> None:
    model = RegennForecaster(BASE, PanelAxes(samples, 5, variables), window=W, horizon=H)
    assert model.graph.shape == (size, size)
    panel = torch.rand(2, W, 5, variables)
    assert torch.equal(model.axes.as_panel(model.axes.as_samples(panel)), panel)
    assert model(*window_of(2, 5, variables)).shape == (2, H, 5, variables)


def test_a_single_variable_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="samples = 'none'"):
        PanelAxes("nodes", 5, 1)
    with pytest.raises(ValueError, match="single series"):
        PanelAxes("none", 1, 1)
    with pytest.raises(ValueError, match="at least 2 variables"):
        GraphEvolution(1)


def test_a_graph_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\) but the variables need \(3, 3\)"):
        forecaster().set_graph(torch.ones(2, 2))


def test_a_change_is_added_to_the_last_observed_value_and_needs_both_signs() -> None:
    axes, sizes = PanelAxes("nodes", 5, V), {"window": W, "horizon": H}
    model = RegennForecaster(dataclasses.replace(BASE, feedforward=8), axes, predict="change", **sizes)
    x, mask, calendar = window_of(2)
    mask[:, -1], mask[:, -2] = False, True
    torch.testing.assert_close(model(x, mask, calendar) - x[:, -2:-1], model.before_output(x, mask, calendar), **EXACT)
    with pytest.raises(ValueError, match="set the output to Identity"):
        RegennForecaster(RegennSettings(), axes, predict="change", **sizes)


def test_the_training_graph_counts_each_step_once_and_no_gap() -> None:
    values, mask = torch.rand(4, 20, V), torch.rand(4, 20, V) > 0.3
    graph = cooccurrence_graph(values, mask)
    slow = torch.zeros(V, V)
    for n in range(4):
        for t in range(20):
            for b in range(V):
                for c in range(V):
                    slow[b, c] += values[n, t, b] * mask[n, t, b] * mask[n, t, c] / 80
    off = ~torch.eye(V, dtype=torch.bool)
    torch.testing.assert_close(graph[off], slow[off], **EXACT)
    torch.testing.assert_close(graph.diagonal(), (2 * slow.diagonal() - slow.sum(1)).clamp(min=0), **EXACT)
    assert torch.equal(cooccurrence_graph(torch.where(mask, values, torch.nan), mask), graph)


def test_negative_values_have_no_negative_mass() -> None:
    values = torch.randn(4, 20, V)
    mask = torch.rand(4, 20, V) > 0.3
    mask[..., 2] = False  # a variable that was never observed
    graph = cooccurrence_graph(values, mask)
    assert graph.min() >= 0
    assert graph.isfinite().all()
    assert not graph[2].any()


def test_without_gaps_the_observed_graph_relates_every_pair_alike() -> None:
    """So it is the start of a forecaster that was given no graph, up to the length of rows."""
    values = torch.rand(4, 20, V)
    rows = nn.functional.normalize(cooccurrence_graph(values, torch.ones_like(values, dtype=torch.bool)))
    start = RegennForecaster(BASE, PanelAxes("nodes", 4, V), window=W, horizon=H).graph
    torch.testing.assert_close(rows, nn.functional.normalize(start), **EXACT)


def test_evolution_weights_are_those_that_mix_and_need_graph_evolution() -> None:
    model = forecaster()
    source, target = model.evolution_weights()
    x = torch.rand(5, W, V)
    torch.testing.assert_close(model.network.source(x, model.graph), model.network.source.time(x @ source.T), **EXACT)
    assert target.shape == (V, V)
    with pytest.raises(ValueError, match="graph_evolution is off"):
        forecaster(graph_evolution=False).evolution_weights()


def test_selu_has_the_dropout_that_belongs_to_it() -> None:
    assert isinstance(random_network(evolution="SELU").network.source.dropout, nn.AlphaDropout)


def test_attention_may_keep_all_its_weights_while_the_rest_drops() -> None:
    layer = random_network(dropout=0.3, attention_dropout=0.0).network.encoder.layer
    assert (layer.self_attn.dropout, layer.dropout.p) == (0.0, 0.3)
    assert random_network(dropout=0.3).network.encoder.layer.self_attn.dropout == 0.3


def test_the_strongest_relations_come_first_with_their_sign_and_without_loops() -> None:
    weights = torch.tensor([[9.0, -2, 0.5], [1, 9, 0], [0, 3, 9]])
    assert strongest_relations(weights, 3) == [(2, 1, 3.0), (0, 1, -2.0), (1, 0, 1.0)]
    assert len(strongest_relations(weights, 99)) == 6


def test_a_relation_without_a_finite_weight_never_ranks_and_a_zero_ranks_last() -> None:
    weights = torch.tensor([[9.0, torch.nan, 0], [-torch.inf, 9, 0.1], [0, -0.2, 9]])
    found = strongest_relations(weights, 99)
    assert [(each.variable, each.reads) for each in found] == [(2, 1), (1, 2), (0, 2), (2, 0)]
    assert [each.weight for each in found] == pytest.approx([-0.2, 0.1, 0, 0])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_lead_is_among_the_strongest_relations(seed: int) -> None:
    """Of six noisy sensors, 4 repeats 1 three steps later."""
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(seed)
    series = torch.randn(603, 6)
    series = torch.stack([series[:-3, 1] if node == 4 else series[3:, node] for node in range(6)], dim=-1)
    samples = series[..., None].unfold(0, 10, 1).movedim(-1, 1)  # [S, W + H, N, F]
    past, future = samples[:, :8], samples[:, 8:]
    settings = RegennSettings(feedforward=None, bias=True, output="Identity")
    model = RegennForecaster(settings, PanelAxes("none", 6, 1), window=8, horizon=2)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    observed = torch.ones_like(past, dtype=torch.bool)
    for _ in range(30):
        for rows in torch.randperm(len(samples)).split(64):
            error = (model(past[rows], observed[rows], torch.empty(0)) - future[rows]).square().mean()
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
    found = [(each.variable, each.reads) for each in strongest_relations(model.evolution_weights().through, 3)]
    assert (4, 1) in found
