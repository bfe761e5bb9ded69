"""The network of a task on a dynamic graph: an encoder of snapshots, and a head on its embeddings."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from models.evolvegcn import EvolveGCN, EvolveGCNSettings
from models.graph_comparators import GCNGRU, StaticGCN
from models.link_memory import FEATURES, LinkMemory
from models.pair_head import NodeHead, PairHead
from models.pair_scores import PairScores
from pipelines.graph_task.frames import Frames
from pipelines.graph_task.spec import EvolvingModel, GraphModel, StaticModel

Embedded = tuple[int, Tensor]  # a sample and its embeddings [n, width], by the rows of its frame


Encoder = EvolveGCN | StaticGCN | GCNGRU


class GraphNetwork(nn.Module):
    """`inputs` node features; `directed` graphs have two convolutions, along the edges and against them.

    The head is one of pairs, or of nodes where these have `node_classes`. A stacked network has one number more,
    `power`, which validation chooses and no gradient reaches.
    """

    power: Tensor

    def __init__(
        self, model: GraphModel, inputs: int, *, window: int, directed: bool, node_classes: int | None = None
    ) -> None:
        super().__init__()
        self.encoder: Encoder = _encoder(model, inputs, directed)
        self.head: PairHead | NodeHead
        if node_classes is None:
            features = len(FEATURES) if model.pair_memory else 0
            self.head = PairHead(self.encoder.width, model.head, features=features, symmetric=model.symmetric)
        else:
            self.head = NodeHead(self.encoder.width, model.head, node_classes)
        self.carries = isinstance(model, EvolvingModel) and model.policy == "carry"
        self.reads_memory, self.is_stacked, self.directed = model.pair_memory, model.stacked, directed
        if self.is_stacked:
            self.register_buffer("power", torch.zeros((), dtype=torch.float64))
        self.is_local = model.name != "gcn_gru"
        self.window = 1 if model.name == "gcn" else window

    def logits(self, h: Tensor, members: Tensor, features: Tensor | None = None) -> Tensor:
        """Logits [M, classes] of `members`, rows of `h` [n, width]: pairs [2, M] with `features`, or nodes [1, M]."""
        if isinstance(self.head, NodeHead):
            return self.head(h[members[0]])
        return self.head(h, members, features)

    def pair_head(self) -> PairHead:
        """Raises TypeError where the head is one of nodes."""
        if isinstance(self.head, NodeHead):
            raise TypeError("a network that classifies nodes has no scores of pairs")
        return self.head

    def learning(self, frames: Frames, samples: range) -> Iterator[list[Embedded]]:
        """Embeddings to learn from, one list for each optimizer step, oldest first.

        Where the state is carried a step is a block of adjacent snapshots, from the first of the history on, through
        which the gradient flows; else it is one window.
        """
        if not self.carries or not isinstance(self.encoder, EvolveGCN):
            yield from ([(sample, self._window(frames, sample))] for sample in samples)
            return
        state = None
        for first in range(0, samples.stop, self.window):
            block = range(first, min(first + self.window, samples.stop))
            found, state = self.encoder.every_step(frames.window(block[-1], len(block)), state, policy="carry")
            yield list(zip(block, found, strict=True))

    @torch.no_grad()
    def judged(self, frames: Frames, samples: range) -> Iterator[Embedded]:
        """Embeddings to be judged by; a carried state has seen the whole history."""
        if not self.carries or not isinstance(self.encoder, EvolveGCN):
            yield from ((sample, self._window(frames, sample)) for sample in samples)
            return
        state = None
        for step in range(samples.stop):
            h, state = self.encoder(frames.window(step, 1), state, policy="stream")
            if step in samples:
                yield step, h

    def pair_scores(self, h: Tensor, place: Tensor, memory: LinkMemory) -> PairScores:
        """Of all pairs, from the embeddings of a frame and what was seen until then."""
        if not self.is_stacked:
            return PairScores(self.pair_head(), h, place, memory if self.reads_memory else None)
        return PairScores(self.pair_head(), h, place, memory, power=float(self.power), both_ways=not self.directed)

    def _window(self, frames: Frames, sample: int) -> Tensor:
        h, _ = self.encoder(frames.window(sample, self.window))
        return h


def _encoder(model: GraphModel, inputs: int, directed: bool) -> Encoder:
    widths = [inputs, *[model.hidden] * model.layers]
    match model:
        case EvolvingModel():
            settings = EvolveGCNSettings(
                variant=model.variant, rnn=model.rnn, remedy=model.remedy, root=model.root, directed=directed
            )
            return EvolveGCN(settings, widths, skip=model.skip)
        case StaticModel(name="gcn"):
            return StaticGCN(widths, directed=directed)
        case StaticModel():
            return GCNGRU(widths, directed=directed)
