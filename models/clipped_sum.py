"""The sum of clipped per-sample gradients, three ways: by taps, by vmap over the whole network, by a loop.

A sample is a row of the batch, and its gradient that of its own loss with respect to all trainable parameters. Its
norm is cut to `max_grad_norm`; a gradient with an entry that is no finite number counts as zero, for it has no norm and
would make every parameter one. `losses` is a module that maps a batch to one loss a sample, [B]; each way leaves the
parameters' own `grad` alone. The loop defines what is right, vmap agrees with it wherever it can run, and taps do on
networks whose weights all sit in linear maps and recurrences that read samples first: `models.sample_check` decides.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.forward_swap import forward_of
from models.per_sample_norm import Inputs, squared_norms
from models.tapped_layers import LinearMap, linear, recurrence
from models.written_out import written_out

MOST_AT_ONCE = 32  # samples whose gradients stand in memory at a time,
VALUES_AT_ONCE = 2**24  # or fewer, so that they take 64 MB


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
    found = nothing(parameters)
    for row in range(len(batch[0])):
        loss = losses(*(part[row : row + 1] for part in batch)).sum()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        found = _with(found, [g[None] for g in gradients], max_grad_norm)
    return found


# ---------------------------------------------------------------- vmap


def vmapped_sum(losses: nn.Module, batch: Sequence[Tensor], max_grad_norm: float) -> ClippedSum:
    """Gradients of some samples at a time. Raises RuntimeError where the network branches on values."""
    weights = {name: p.detach() for name, p in trainable(losses).items()}

    def loss(weights: dict[str, Tensor], *sample: Tensor) -> Tensor:
        return functional_call(losses, weights, tuple(part[None] for part in sample)).sum()

    each = vmap(grad(loss), in_dims=(None, *[0] * len(batch)), randomness="different")
    found = nothing(list(weights.values()))
    with written_out(losses), sdpa_kernel(SDPBackend.MATH):  # fused attention has no rule for vmap
        size = max(1, min(MOST_AT_ONCE, VALUES_AT_ONCE // max(1, sum(p.numel() for p in weights.values()))))
        for first in range(0, len(batch[0]), size):
            gradients = each(weights, *(part[first : first + size] for part in batch))
            found = _with(found, [gradients[name] for name in weights], max_grad_norm)
    return found


def nothing(parameters: Sequence[Tensor]) -> ClippedSum:
    """What the samples of an empty batch add up to."""
    return ClippedSum([torch.zeros_like(p, requires_grad=False) for p in parameters], torch.zeros(0))


def _with(so_far: ClippedSum, gradients: Sequence[Tensor], max_grad_norm: float) -> ClippedSum:
    """The sum and further samples of `gradients` [B, ...]; adds in place."""
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients], dim=1).norm(dim=1)
    factors = clip_factors(norms, max_grad_norm)
    for total, g in zip(so_far.gradients, gradients, strict=True):
        kept = torch.where((factors > 0).view(-1, *[1] * (g.dim() - 1)), g, 0.0)  # 0 times infinity is no zero
        total.add_(torch.einsum("b,b...->...", factors, kept))
    return ClippedSum(so_far.gradients, torch.cat([so_far.norms.to(norms.device), norms]))


# ---------------------------------------------------------------- taps


@dataclass(frozen=True)
class Tap:
    """Pre-activations, and the linear maps that lead to them.

    They and the inputs are of the same order: places first, [K, B, O] and [K, B, I], or samples first.
    """

    point: Tensor  # whose gradient is that of the pre-activations
    maps: Sequence[LinearMap]
    places_first: bool

    def shaped(self, d: Tensor, samples: int) -> Tensor:
        return d if self.places_first else d.reshape(samples, -1, d.shape[-1])

    def squared_norms(self, d: Tensor) -> Tensor:
        def by_sample(part: Tensor) -> Tensor:
            return part.transpose(0, 1) if self.places_first else part

        inputs = [Inputs(by_sample(each.inputs), each.bias is not None) for each in self.maps]
        ranges = [range(d.shape[-1])[each.columns] for each in self.maps]
        groups, bounds = [], sorted({end for columns in ranges for end in (columns.start, columns.stop)})
        for first, last in pairwise(bounds):
            readers = [each for each, columns in zip(inputs, ranges, strict=True) if first in columns]
            groups.append((by_sample(d[..., first:last]), readers))
        return squared_norms(groups)


def tapped_sum(losses: nn.Module, batch: Sequence[Tensor], max_grad_norm: float) -> ClippedSum:
    """One pass back to the pre-activations, norms from Gram matrices, one product a weight for the clipped sum.

    No gradient of a single sample is ever made. Raises ValueError where a trainable parameter sits elsewhere.
    """
    parameters, samples = list(trainable(losses).values()), len(batch[0])
    if not samples:
        return nothing(parameters)
    with tapped(losses, samples) as used:
        found = torch.autograd.grad(losses(*batch).sum(), [tap.point for tap in used])
    taps, deltas = _joined(used, [tap.shaped(d, samples) for tap, d in zip(used, found, strict=True)])
    norms = torch.stack([tap.squared_norms(d) for tap, d in zip(taps, deltas, strict=True)]).sum(0).sqrt()
    sums = _sums(taps, deltas, clip_factors(norms, max_grad_norm))
    return ClippedSum([sums[p] if p in sums else torch.zeros_like(p) for p in parameters], norms)


def _sums(taps: Sequence[Tap], deltas: Sequence[Tensor], factors: Tensor) -> dict[Tensor, Tensor]:
    """The gradients of all samples, each scaled by its factor [B] and added up. Uses up those of recurrences."""
    every, sums = bool((factors > 0).all()), {}
    for tap, d in zip(taps, deltas, strict=True):
        f = factors[:, None] if tap.places_first else factors[:, None, None]

        def rows(part: Tensor, f: Tensor = f) -> Tensor:
            kept = part if every else torch.where(f > 0, part, 0.0)  # 0 times infinity is no zero
            return kept.flatten(0, 1)

        scaled = d if every else torch.where(f > 0, d, 0.0)
        scaled = (scaled.mul_(f) if tap.places_first else scaled * f).flatten(0, 1)
        of_bias = scaled.new_ones(len(scaled)) @ scaled  # quicker than a sum over rows
        for each in tap.maps:
            of_weight = (rows(each.inputs).mT @ scaled[:, each.columns]).mT  # [O, I], quicker this way round
            sums[each.weight] = of_weight.roll(each.turned, 0).contiguous()
            if each.bias is not None:
                sums[each.bias] = of_bias[each.columns].roll(each.turned)
    return sums


def _joined(taps: Sequence[Tap], deltas: Sequence[Tensor]) -> tuple[Sequence[Tap], Sequence[Tensor]]:
    """One tap for each weight: the gradients of a layer that is used several times add up before their norm."""
    by_layer: dict[Tensor, list[int]] = {}
    for index, tap in enumerate(taps):
        by_layer.setdefault(tap.maps[0].weight, []).append(index)
    if len(by_layer) == len(taps):
        return taps, deltas
    joined, places = [], [0 if tap.places_first else 1 for tap in taps]
    for uses in by_layer.values():
        first, axis = taps[uses[0]], places[uses[0]]
        maps = [
            each._replace(inputs=torch.cat([taps[use].maps[number].inputs for use in uses], axis))
            for number, each in enumerate(first.maps)
        ]
        joined.append((replace(first, maps=maps), torch.cat([deltas[use] for use in uses], axis)))
    return [tap for tap, _ in joined], [d for _, d in joined]


@contextmanager
def tapped(network: nn.Module, samples: int) -> Iterator[list[Tap]]:
    """While it is open, `network` is tapped wherever a weight is at work, and its parameters get no gradient.

    Raises ValueError where a trainable parameter is of no linear map and no recurrence, and where a recurrence reads
    other rows than samples.
    """
    taps: list[Tap] = []

    def of_steps(point: Tensor, *maps: LinearMap) -> None:
        if point.shape[1] != samples:
            raise ValueError(f"a recurrence reads {point.shape[1]} sequences of {samples} samples")
        taps.append(Tap(point, maps, places_first=True))

    def of_layer(point: Tensor, layer: LinearMap) -> None:
        inputs = layer.inputs.reshape(samples, -1, layer.inputs.shape[-1])
        taps.append(Tap(point, [layer._replace(inputs=inputs)], places_first=False))

    with ExitStack() as stack:
        known: set[nn.Parameter] = set()
        for part in network.modules():
            if isinstance(part, nn.GRU | nn.LSTM):
                stack.enter_context(forward_of(part, partial(recurrence, part, of_steps)))
            elif isinstance(part, nn.Linear):
                stack.enter_context(forward_of(part, partial(linear, part, of_layer)))
            else:
                continue
            known |= set(part.parameters(recurse=False))
        for name, parameter in trainable(network).items():
            if parameter not in known:
                raise ValueError(f"parameter {name} is of no linear map and no recurrence, so it can't be tapped")
        yield taps
