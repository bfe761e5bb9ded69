"""EvolveGCN: graph convolutions whose weights a recurrent cell evolves from snapshot to snapshot.

Pareja et al., EvolveGCN: Evolving Graph Convolutional Networks for Dynamic Graphs, AAAI 2020, arXiv:1902.10191. Nothing
is kept of a node, so the nodes may be others at every step. In -H the cell reads the rows of the nodes that score
highest; in -O it reads the weight itself and never the data. So -O with policy `reset` is a static GCN on the last
snapshot: the earlier ones change nothing but by their number. Only -H, or -O carried over a history, is temporal.

Letters are the paper's: H layer input [N, R], W weight [R, C], p scorer [R], Z summary. The paper's -O has an LSTM,
the authors' released code a GRU; both are here. Differs from both: an empty snapshot has a summary of zeros, the
activation is a leaky ReLU with the mean slope of the released code's random one (pass `nn.RReLU()` for that), the
convolutions may be two (`directed`), and there are remedies for weights that shrink to nothing before training: the
released start multiplies them by about 0.6 a step.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from models.adjacency import Operator, propagate
from models.dense_operator import DenseOperator
from models.graph import Graph
from models.matrix_recurrence import MatrixGRU, MatrixLSTM, WeightState
from models.state_policy import Policy, state_to_begin_with

Remedy = Literal["none", "closed_gate", "residual", "keep_norm"]
LayerState = tuple[WeightState, ...]  # one weight for each operator of the adjacency
State = tuple[LayerState, ...]  # one a layer
SLOPE = 11 / 48  # mean of the slopes 1/8 to 1/3 of RReLU
CELLS = {"gru": MatrixGRU, "lstm": MatrixLSTM}


@dataclass(frozen=True)
class EvolveGCNSettings:
    """As they stand, what the released code calls EGCU-H or -O.

    `remedy` against shrinking weights: `closed_gate` starts the GRU's update bias at -2, `residual` adds to the weight
    where the cell would forget it (which lifts the bounds on its entries), `keep_norm` holds it at the norm of W_0.
    """

    variant: Literal["H", "O"]
    rnn: Literal["gru", "lstm"] = "gru"
    remedy: Remedy = "none"
    root: bool = False  # adds H W_root, which does not evolve, before the activation
    directed: bool = False  # two convolutions, for `directed_adjacency`, each with its own evolving weight

    def __post_init__(self) -> None:
        if self.remedy == "closed_gate" and self.rnn == "lstm":
            raise ValueError("the LSTM has no update gate to close; choose remedy 'residual' or 'keep_norm'")


def top_rows(h: Tensor, scores: Tensor, active: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    """Positions [..., k] of the k highest of `scores` [..., N], and whether there are any [..., 1].

    With fewer than k active nodes the last of them is repeated.
    """
    if active is not None:
        scores = scores.masked_fill(~active, -torch.inf)
    best = scores.topk(min(k, scores.shape[-1]), dim=-1).indices
    found = torch.full_like(best[..., :1], best.shape[-1])
    if active is not None:
        found = active.sum(-1, keepdim=True).clamp(max=best.shape[-1])
    place = torch.minimum(torch.arange(k, device=h.device), (found - 1).clamp(min=0))
    return best.gather(-1, place), found > 0


class Summary(nn.Module):
    """The `k` rows of H [..., N, R] that score highest, each times tanh of its score: Z^T [..., R, k]."""

    def __init__(self, rows: int, k: int) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.empty(rows).uniform_(-(rows**-0.5), rows**-0.5))
        self.k = k

    def forward(self, h: Tensor, active: Tensor | None) -> Tensor:
        if h.shape[-2] == 0:
            return h.new_zeros(*h.shape[:-2], h.shape[-1], self.k)
        with torch.no_grad():  # which rows has no gradient, so only theirs are scored with one
            chosen, any_active = top_rows(h, self.scores(h), active, self.k)
        rows = h.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, h.shape[-1]))  # [..., k, R]
        weighted = rows * self.scores(rows).tanh().unsqueeze(-1)
        return torch.where(any_active.unsqueeze(-1), weighted, 0).mT

    def scores(self, h: Tensor) -> Tensor:
        return h @ (self.p / self.p.norm())


class EvolvingWeight(nn.Module):
    """A weight [R, C], learnt for the first step only (W_0), and the cell that works out all later ones."""

    def __init__(self, settings: EvolveGCNSettings, rows: int, columns: int) -> None:
        super().__init__()
        self.initial = nn.Parameter(torch.empty(rows, columns).uniform_(-(columns**-0.5), columns**-0.5))  # W_0
        self.cell = CELLS[settings.rnn](rows, columns, residual=settings.remedy == "residual")
        self.summary = Summary(rows, columns) if settings.variant == "H" else None
        self.keeps_norm = settings.remedy == "keep_norm"
        if settings.remedy == "closed_gate":
            nn.init.constant_(self.cell.bias[0], -2.0)

    def start(self) -> WeightState:
        context = torch.zeros_like(self.initial) if isinstance(self.cell, MatrixLSTM) else None
        return WeightState(self.initial, context)

    def forward(self, h: Tensor | None, active: Tensor | None, state: WeightState) -> WeightState:
        """The next weight; -O needs no `h`."""
        read = None if self.summary is None or h is None else self.summary(h, active)
        weight, context = self.cell(read, state)
        if self.keeps_norm:
            norm = weight.norm(dim=(-2, -1), keepdim=True)
            weight = weight * (self.initial.norm() / norm.clamp(min=1e-12))
        return WeightState(weight, context)


def convolve(operator: Operator | DenseOperator, h: Tensor, weight: Tensor) -> Tensor:
    """A^ H W, in the cheaper order: `h` [..., N, R], `weight` [..., R, C]."""
    rows, columns = weight.shape[-2:]
    return propagate(operator, h @ weight) if columns <= rows else propagate(operator, h) @ weight


class EvolveGCNCell(nn.Module):
    """One layer: first its weights evolve, then the new ones convolve. `forward` is one step.

    The state is the caller's: it is passed in and out, and nothing of a sequence is kept here.
    """

    weights: Sequence[EvolvingWeight]

    def __init__(
        self, settings: EvolveGCNSettings, inputs: int, outputs: int, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.settings, self.shape = settings, (inputs, outputs)
        count = 2 if settings.directed else 1
        self.weights = nn.ModuleList(  # type: ignore[assignment]
            EvolvingWeight(settings, inputs, outputs) for _ in range(count)
        )
        self.root = None
        if settings.root:
            self.root = nn.Parameter(torch.empty(inputs, outputs).uniform_(-(outputs**-0.5), outputs**-0.5))
        self.activation = nn.LeakyReLU(SLOPE) if activation is None else activation

    def initial_state(self) -> LayerState:
        return tuple(weight.start() for weight in self.weights)

    def evolve(self, h: Tensor | None, active: Tensor | None, state: LayerState) -> LayerState:
        return tuple(weight(h, active, each) for weight, each in zip(self.weights, state, strict=True))

    def convolve(self, graph: Graph, h: Tensor, state: LayerState) -> Tensor:
        """`h` [..., N, R] to [..., N, C], with the weights of `state`."""
        operators = graph.adjacency.operators
        total = sum(convolve(operator, h, each.weight) for operator, each in zip(operators, state, strict=True))
        return self.activation(total if self.root is None else total + h @ self.root)

    def forward(self, graph: Graph, state: LayerState | None = None) -> tuple[Tensor, LayerState]:
        """`graph.x` [..., N, R] to [..., N, C], and the state after it; without a state, from W_0."""
        state = self.initial_state() if state is None else state
        self.check(graph, state)
        state = self.evolve(graph.x, graph.active, state)
        return self.convolve(graph, graph.x, state), state

    def unroll(
        self, graphs: Sequence[Graph], hidden: Sequence[Tensor | None], state: LayerState, *, first: int
    ) -> tuple[list[Tensor | None], LayerState]:
        """All steps, of which those before `first` only evolve the weights."""
        outputs = []
        for step, (graph, h) in enumerate(zip(graphs, hidden, strict=True)):
            state = self.evolve(h, graph.active, state)
            outputs.append(None if h is None or step < first else self.convolve(graph, h, state))
        return outputs, state

    def check(self, graph: Graph, state: LayerState) -> None:
        """Raises ValueError if the graph or the state is none of this layer."""
        if graph.x.shape[-1] != self.shape[0]:
            raise ValueError(f"the layer reads {self.shape[0]} features but x has {graph.x.shape[-1]}")
        if len(graph.adjacency.operators) != len(self.weights):
            wanted = "directed_adjacency" if self.settings.directed else "symmetric_adjacency"
            raise ValueError(f"directed is {self.settings.directed} in the settings; make the adjacency by {wanted}")
        self.check_state(state)
        batches = {each.weight.shape[:-2] for each in state} - {torch.Size(), graph.x.shape[:-2]}
        if batches:
            raise ValueError(f"the state is of a batch {tuple(batches.pop())} but x is {tuple(graph.x.shape)}")

    def check_state(self, state: LayerState) -> None:
        if len(state) != len(self.weights):
            raise ValueError(f"the layer has {len(self.weights)} weights but the state passed has {len(state)}")
        for each in state:
            if each.weight.shape[-2:] != self.shape:
                raise ValueError(
                    f"the layer's weight is {self.shape} but that of the state passed is "
                    f"{tuple(each.weight.shape[-2:])}; pass the state that this model returned"
                )
            if (each.context is None) == (self.settings.rnn == "lstm"):
                raise ValueError("a GRU's state has no context and an LSTM's has one; pass the state of the same cell")


class EvolveGCN(nn.Module):
    """A stack of evolving layers; `widths` are those of the features and of every layer.

    Embeddings have `width` columns: the last layer's, and with `skip` the step's raw features beside them.
    """

    layers: Sequence[EvolveGCNCell]

    def __init__(
        self,
        settings: EvolveGCNSettings,
        widths: Sequence[int],
        *,
        skip: bool = False,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.skip = settings, skip
        self.layers = nn.ModuleList(  # type: ignore[assignment]
            EvolveGCNCell(settings, inputs, outputs, activation) for inputs, outputs in pairwise(widths)
        )
        self.width = widths[-1] + (widths[0] if skip else 0)

    def initial_state(self) -> State:
        return tuple(layer.initial_state() for layer in self.layers)

    def forward(
        self, graphs: Sequence[Graph], state: State | None = None, *, policy: Policy = "reset"
    ) -> tuple[Tensor, State]:
        """Embeddings of the last snapshot [..., N, width], and the state after it.

        Policies: `reset` starts every window from W_0; `carry` goes on from `state` over adjacent windows, and
        gradients stop where the window begins; `stream` is `carry` without gradients. Convolutions that the last
        snapshot does not need are left out: all earlier ones of -O, the earlier ones of the last layer of -H.
        """
        embeddings, state = self._run(graphs, state, policy, every_step=False)
        return embeddings[-1], state

    def every_step(
        self, graphs: Sequence[Graph], state: State | None = None, *, policy: Policy = "reset"
    ) -> tuple[list[Tensor], State]:
        """As `forward`, with the embeddings of every snapshot."""
        return self._run(graphs, state, policy, every_step=True)

    def _run(
        self, graphs: Sequence[Graph], given: State | None, policy: Policy, *, every_step: bool
    ) -> tuple[list[Tensor], State]:
        state = state_to_begin_with(policy, given, self.initial_state())
        self._check(graphs, state)
        if given is not None:
            state = detach_state(state)
        with torch.set_grad_enabled(torch.is_grad_enabled() and policy != "stream"):
            return self._unroll(graphs, state, every_step)

    def _unroll(self, graphs: Sequence[Graph], state: State, every_step: bool) -> tuple[list[Tensor], State]:
        """Layer by layer, all steps of one before the next."""
        hidden: Sequence[Tensor | None] = [graph.x for graph in graphs]
        reached = []
        for layer, begun in zip(self.layers, state, strict=True):
            is_read = self.settings.variant == "H" and layer is not self.layers[-1]  # by the next layer's summary
            first = 0 if every_step or is_read else len(graphs) - 1
            hidden, ended = layer.unroll(graphs, hidden, begun, first=first)
            reached.append(ended)
        embeddings = [self._beside_features(h, graph) for h, graph in zip(hidden, graphs, strict=True) if h is not None]
        return embeddings if every_step else embeddings[-1:], tuple(reached)

    def _beside_features(self, h: Tensor, graph: Graph) -> Tensor:
        return torch.cat([h, graph.x], dim=-1) if self.skip else h

    def _check(self, graphs: Sequence[Graph], state: State) -> None:
        if not graphs:
            raise ValueError("the window has no snapshots; an empty step is a Graph without nodes")
        if len(state) != len(self.layers):
            raise ValueError(f"the model has {len(self.layers)} layers but the state passed is of {len(state)}")
        for graph in graphs:
            self.layers[0].check(graph, state[0])
        for layer, each in zip(self.layers, state, strict=True):
            layer.check_state(each)


def detach_state(state: State) -> State:
    """The same weights, through which no gradient flows."""
    return tuple(tuple(each.detach() for each in layer) for layer in state)


@contextmanager
def watched_norms(network: nn.Module) -> Iterator[dict[str, list[float]]]:
    """While it is open, every evolving weight within `network` notes its norm: W_0's, then that after each step.

    The names say layer and direction. Of a batch of weights (-H) it is the mean.
    """
    noted: dict[str, list[float]] = {}
    hooks = []
    for layer, cell in enumerate(part for part in network.modules() if isinstance(part, EvolveGCNCell)):
        for way, weight in zip(("along edges", "against edges"), cell.weights, strict=False):
            name = f"layer {layer + 1}, {way}" if cell.settings.directed else f"layer {layer + 1}"
            course = noted.setdefault(name, [float(weight.initial.detach().norm())])
            hooks.append(weight.register_forward_hook(partial(_note, course)))
    try:
        yield noted
    finally:
        for hook in hooks:
            hook.remove()


def _note(course: list[float], _: nn.Module, __: object, state: WeightState) -> None:
    course.append(float(state.weight.detach().norm(dim=(-2, -1)).mean()))
