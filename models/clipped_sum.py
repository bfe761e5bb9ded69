"""The sum of clipped per-sample gradients, three ways: by taps, by vmap over the whole network, by a loop.

A sample is a row of the batch, and its gradient that of its own loss with respect to all trainable parameters. Its norm
is cut to `max_grad_norm`; a gradient with an entry that is no finite number counts as zero, for it has no norm and would
make every parameter one. `losses` is a module that maps a batch to one loss a sample, [B]; each way leaves the
parameters' own `grad` alone. The loop defines what is right, vmap agrees with it wherever it can run, and taps do on
networks whose weights all sit in linear maps and recurrences that read samples first: `models.sample_check` decides.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional

from models.forward_swap import forward_of
from models.per_sample_norm import squared_norms
from models.tapped_recurrence import recurrence
from models.written_out import written_out

CHUNK = 16  # samples whose gradients stand in memory at a time


@dataclass(frozen=True)
class ClippedSum:
    """Of the samples of one batch; `gradients` are in the order of `trainable`."""

    gradients: list[Tensor]
    norms: Tensor  # [B], before clipping; not finite where the sample counts as zero


Way = Callable[[nn.Module, Sequence[Tensor], float], ClippedSum]


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    """By name, in the order of `network.parameters()`."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def clip_factors(norms: Tensor, max_grad_norm: float) -> Tensor:
    """What each sample's gradient is scaled by, [B]: at most 1, and 0 where the norm is not finite."""
    return torch.where(norms.isfinite(), (max_grad_norm / (norms + 1e-6)).clamp(max=1), 0.0)


# ---------------------------------------------------------------- a loop


def looped_sum(losses: nn.Module, batch: Sequence[Tensor], max_grad_norm: float) -> ClippedSum:
    """One sample at a time through autograd: slow, and right for every network."""
    parameters = list(trainable(losses).values())
    total, norms = [torch.zeros_like(p) for p in parameters], []
    for row in range(len(batch[0])):
        loss = losses(*(part[row : row + 1] for part in batch)).sum()
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        norms.append(_norms([g[None] for g in found]))
        _add_clipped(total, [g[None] for g in found], norms[-1], max_grad_norm)
    return ClippedSum(total, torch.cat(norms) if norms else batch[0].new_zeros(0, dtype=torch.float32))


# ---------------------------------------------------------------- vmap


def vmapped_sum(losses: nn.Module, batch: Sequence[Tensor], max_grad_norm: float) -> ClippedSum:
    """Gradients of `CHUNK` samples at a time. Raises RuntimeError where the network branches on values."""
    parameters = trainable(losses)
    weights = {name: p.detach() for name, p in parameters.items()}
    total, norms = [torch.zeros_like(p) for p in weights.values()], []

    def loss(weights: dict[str, Tensor], *sample: Tensor) -> Tensor:
        return functional_call(losses, weights, tuple(part[None] for part in sample)).sum()

    each = vmap(grad_and_value(loss), in_dims=(None, *[0] * len(batch)), randomness="different")
    with written_out(losses):
        for rows in torch.arange(len(batch[0])).split(CHUNK):
            found, _ = each(weights, *(part[rows[0] : rows[-1] + 1] for part in batch))
            gradients = [found[name] for name in weights]
            norms.append(_norms(gradients))
            _add_clipped(total, gradients, norms[-1], max_grad_norm)
    return ClippedSum(total, torch.cat(norms) if norms else batch[0].new_zeros(0, dtype=torch.float32))


def _norms(gradients: Sequence[Tensor]) -> Tensor:
    """[B] of gradients [B, ...]."""
    return torch.stack([g.flatten(1).norm(dim=1) for g in gradients], dim=1).norm(dim=1)


def _add_clipped(total: Sequence[Tensor], gradients: Sequence[Tensor], norms: Tensor, max_grad_norm: float) -> None:
    factors = clip_factors(norms, max_grad_norm)
    for sum_, g in zip(total, gradients, strict=True):
        kept = torch.where((factors > 0).view(-1, *[1] * (g.dim() - 1)), g, 0.0)  # 0 times infinity is no zero
        sum_.add_(torch.einsum("b,b...->...", factors, kept))


# ---------------------------------------------------------------- taps


@dataclass(frozen=True)
class Product:
    """A weight [O, I] and its bias at work at K places of every sample.

    `inputs` and `tap` are of the same order, places first ([K, B, I] and [K, B, O]) or samples first.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    inputs: Tensor  # with a last column of ones where there is a bias
    tap: Tensor  # the pre-activations, or what has their gradient
    places_first: bool

    def by_sample(self, part: Tensor) -> Tensor:
        return part.transpose(0, 1) if self.places_first else part


def tapped_sum(losses: nn.Module, batch: Sequence[Tensor], max_grad_norm: float) -> ClippedSum:
    """One pass back to the pre-activations, norms from Gram matrices, one product a weight for the clipped sum.

    No gradient of a single sample is ever made. Raises ValueError where a trainable parameter sits elsewhere.
    """
    parameters, samples = list(trainable(losses).values()), len(batch[0])
    if not samples:
        return ClippedSum([torch.zeros_like(p) for p in parameters], torch.zeros(0))
    with tapped(losses, samples) as products:
        deltas = torch.autograd.grad(losses(*batch).sum(), [product.tap for product in products])
    maps = [(p, d if p.places_first else d.reshape(samples, -1, d.shape[-1])) for p, d in zip(products, deltas, strict=True)]
    squares = [squared_norms(d, x) for d, x in _joined(maps)]
    norms = torch.stack(squares).sum(0).sqrt()
    return ClippedSum(_sums(maps, parameters, clip_factors(norms, max_grad_norm)), norms)


def _sums(
    maps: Sequence[tuple[Product, Tensor]], parameters: Sequence[nn.Parameter], factors: Tensor
) -> list[Tensor]:
    """The gradients [O, I] of all samples, each scaled by its factor [B] and added up."""
    every = bool((factors > 0).all())
    sums = {p: torch.zeros_like(p) for p in parameters}
    for product, d in maps:
        f = factors[:, None] if product.places_first else factors[:, None, None]
        x = product.inputs
        if not every:  # 0 times infinity is no zero
            d, x = torch.where(f > 0, d, 0.0), torch.where(f > 0, x, 0.0)
        found = d.flatten(0, 1).mT @ (x * f).flatten(0, 1)  # [O, I] or [O, I + 1]
        if product.bias is not None:
            sums[product.bias] += found[:, -1]
            found = found[:, :-1]
        sums[product.weight] += found
    return list(sums.values())


def _joined(maps: Sequence[tuple[Product, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Gradients [B, K, O] and inputs [B, K, I] of every weight: the uses of a shared one add up before its norm."""
    found: dict[nn.Parameter, list[tuple[Tensor, Tensor]]] = {}
    for product, d in maps:
        found.setdefault(product.weight, []).append((product.by_sample(d), product.by_sample(product.inputs)))
    for uses in found.values():
        yield uses[0] if len(uses) == 1 else (torch.cat([d for d, _ in uses], 1), torch.cat([x for _, x in uses], 1))


@contextmanager
def tapped(network: nn.Module, samples: int) -> Iterator[list[Product]]:
    """While it is open, `network` notes its products and gives its parameters no gradient.

    Raises ValueError where a trainable parameter is of no linear map and no recurrence.
    """
    products: list[Product] = []

    def of_steps(weight: nn.Parameter, bias: nn.Parameter | None, x: Tensor, tap: Tensor) -> None:
        if x.shape[1] != samples:  # nodes folded into the batch, [K, B * N, I]: the samples are the outer of the two
            raise ValueError(f"a recurrence reads {x.shape[1]} sequences of {samples} samples")
        products.append(Product(weight, bias, _with_ones(x, bias), tap, places_first=True))

    def of_linear(layer: nn.Linear, x: Tensor, tap: Tensor) -> None:
        inputs = x.reshape(samples, -1, x.shape[-1])
        products.append(Product(layer.weight, layer.bias, _with_ones(inputs, layer.bias), tap, places_first=False))

    with ExitStack() as stack:
        known: set[nn.Parameter] = set()
        for part in network.modules():
            if isinstance(part, nn.GRU | nn.LSTM):
                stack.enter_context(forward_of(part, partial(recurrence, part, use=of_steps)))
            elif isinstance(part, nn.Linear):
                stack.enter_context(forward_of(part, partial(_linear, part, of_linear)))
            else:
                continue
            known |= set(part.parameters(recurse=False))
        for name, parameter in trainable(network).items():
            if parameter not in known:
                raise ValueError(f"parameter {name} is of no linear map and no recurrence, so it can't be tapped")
        yield products


def _with_ones(x: Tensor, bias: nn.Parameter | None) -> Tensor:
    return x if bias is None else torch.cat([x, x.new_ones(()).expand(*x.shape[:-1], 1)], dim=-1)


def _linear(layer: nn.Linear, use: Callable[[nn.Linear, Tensor, Tensor], None], x: Tensor) -> Tensor:
    y = functional.linear(x, layer.weight.detach(), None if layer.bias is None else layer.bias.detach())
    if not y.requires_grad:
        y.requires_grad_()
    use(layer, x.detach(), y)
    return y
