"""A network for private training: nothing in it follows from the data but what the noised steps will learn.

Means and spreads, the busiest nodes, a graph of correlations, the form of the output that suits the data best: each is
a release of its own if it is taken from raw values. Here they are constants, or refused; the form of the output is one
already as `pipelines.prepare` says it.
"""

import torch
from torch import Tensor

from data.windows import Batch
from models.forecaster import Scaled, Scaler, edge_steps
from models.sample_check import fastest_way
from models.window_losses import WindowLosses
from pipelines.errors import SpecError
from pipelines.graphs import static_graph
from pipelines.prepare import Prepared
from pipelines.privacy.spec import PublicNumber, PublicScale, TrainingPrivacy
from pipelines.spec import FlowModel, GraphModel, GraphRecurrentModel, Spec
from pipelines.zoo import Shape, build, is_reference, set_static_graph, tell_zero

MADE_UP = 5  # windows on which the gradients are checked
RAW_GRAPHS = ("correlation", "flows-mean")


def refuse_leaks(spec: Spec) -> None:
    """Raises SpecError for settings by which raw values would get into the weights beside the noised steps."""
    model, training = spec.model, spec.training
    reasons = {
        "task.busiest": (spec.task.busiest is not None, "which nodes are busiest is read from raw counts; name them"),
        "model": (isinstance(model, FlowModel), "the usual level of every pair is read from raw flows"),
        "model.mode": (is_reference(model), "its samples share a step and its graph grows over an epoch"),
        "model.graph": (
            isinstance(model, GraphModel) and model.graph in RAW_GRAPHS,
            "this graph is a statistic of raw values; take 'distance', 'nearest', 'given' or 'flows'",
        ),
        "model.aggregation": (
            isinstance(model, GraphRecurrentModel) and model.aggregation == "pna",
            "pna scales by the degrees of the raw graph; take another",
        ),
        "training.precision": (training.precision != "float32", "half of the digits are no bound; take float32"),
        "training.compile": (training.compile, "gradients of single windows are not compiled; leave it out"),
        "evaluation.refits": (spec.evaluation.refits > 1, "each refit would be a training to be paid for; leave it 1"),
    }
    for key, (leaks, why) in reasons.items():
        if leaks:
            raise SpecError(f"{key}: not with privacy.mechanism 'dp_sgd': {why}")


def private_network(spec: Spec, prepared: Prepared) -> Scaled:
    """An untrained network on public constants; its weights come from torch's random state. Raises SpecError."""
    assert isinstance(spec.privacy, TrainingPrivacy)
    refuse_leaks(spec)
    try:
        network = build(spec.model, prepared.shape)
    except ValueError as error:
        raise SpecError(f"model: {error}") from None
    if isinstance(spec.model, GraphModel) and not spec.model.is_dynamic:
        set_static_graph(network, static_graph(spec.model, prepared, 0))
    scaler = public_scaler(spec.privacy.public_scale, prepared.panel.nodes, prepared.panel.variables)
    tell_zero(network, scaler)
    return Scaled(network, scaler)


def public_scaler(scale: PublicScale, nodes: tuple[str, ...], variables: tuple[str, ...]) -> Scaler:
    """Raises SpecError where a table names some of the nodes or variables, but not each one."""
    scaler = Scaler(len(nodes), len(variables))
    scaler.mean.copy_(_spread_out("location", scale.location, nodes, variables))
    scaler.std.copy_(_spread_out("spread", scale.spread, nodes, variables))
    return scaler


def _spread_out(key: str, number: PublicNumber, nodes: tuple[str, ...], variables: tuple[str, ...]) -> Tensor:
    """[N, F], or what broadcasts to it."""
    if not isinstance(number, dict):
        return torch.tensor(number, dtype=torch.float64)
    names = variables if set(number) <= set(variables) else nodes
    missing, unknown = [n for n in names if n not in number], [n for n in number if n not in names]
    if missing or unknown:
        what = f"{unknown[0]!r} is neither a node nor a variable" if unknown else f"{missing[0]!r} is missing"
        raise SpecError(
            f"privacy.public_scale.{key}: {what}; give one number, or one for each variable ({', '.join(variables)}) "
            f"or for each of {len(nodes)} nodes ({', '.join(nodes[:6])}{', ...' if len(nodes) > 6 else ''})"
        )
    values = torch.tensor([number[name] for name in names], dtype=torch.float64)
    return values if names is variables else values[:, None]


def gradient_way(losses: WindowLosses, shape: Shape) -> str:
    """The name of the way that sums this network's gradients (`models.sample_check`). Raises SpecError for none."""
    try:
        return fastest_way(losses, made_up(shape, losses.network.scaler, edge_steps(losses.network)))
    except ValueError as error:
        raise SpecError(f"model: can't be trained privately: {error}") from None


def made_up(shape: Shape, scaler: Scaler, steps: int) -> list[Tensor]:
    """Windows of no data, with gaps, of the scaler's size: the parts of a `WindowLosses` batch."""
    draw = torch.Generator().manual_seed(0)
    size = shape.nodes, shape.variables
    x, y = (
        scaler.unscale(torch.randn(MADE_UP, length, *size, generator=draw, dtype=torch.float64).to(scaler.mean)).cpu()
        for length in (shape.window, shape.horizon)
    )
    mask, y_mask = (torch.rand(part.shape, generator=draw) > 0.1 for part in (x, y))
    slot = torch.rand(MADE_UP, shape.window + shape.horizon, 1, generator=draw)
    weekday = torch.randint(0, 7, slot.shape, generator=draw).float()
    parts = [x * mask, mask, torch.cat([slot, weekday, (slot > 0.5).float()], -1), y * y_mask, y_mask]
    if steps:
        flows = torch.rand(MADE_UP, steps, shape.nodes, shape.nodes, generator=draw)
        parts.append(flows * (flows > 0.5))
    return parts


def parts_of(batch: Batch) -> list[Tensor]:
    """A batch as `WindowLosses` reads it."""
    known = [batch.x, batch.mask, batch.calendar, batch.y, batch.y_mask]
    return known if batch.edges is None else [*known, batch.edges]
