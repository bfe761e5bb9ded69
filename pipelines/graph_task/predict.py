"""What the newest snapshots say: which pairs that were never linked come next, or of which class edges or nodes are."""

import heapq
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from data.errors import DataError
from data.snapshots import Snapshots
from models.link_memory import LinkMemory
from models.pair_scores import PairScores
from pipelines.graph_task.artefact import GraphArtefact, features_read
from pipelines.graph_task.features import features_of
from pipelines.graph_task.frames import Frames
from pipelines.graph_task.ingest import step_name
from pipelines.graph_task.network import GraphNetwork
from pipelines.graph_task.prepare import memories
from pipelines.graph_task.spec import LinkTask, NodeLabelTask

ROWS = 2**22  # scores at once


@dataclass(frozen=True)
class GraphForecast:
    """From the step that is `known_until`, the last one known.

    Of links `frame` has source, target, score: the higher, the sooner expected; a number between 0 and 1 that orders
    pairs and is no probability, since it was learnt from a sample of them. Of edges it has source, target, class_0,
    class_1; of nodes it has node, and class_ with the name of each class.
    """

    model: str
    version: str
    known_until: str
    frame: pl.DataFrame
    mark: None = None  # no model of a graph is private


@torch.no_grad()
def predict(artefact: GraphArtefact, snapshots: Snapshots) -> pl.DataFrame:
    """The forecast from the last of `snapshots`. Raises DataError where they do not fit the model."""
    _require_same_kind(artefact, snapshots)
    network, last = artefact.network, len(snapshots) - 1
    features, absent = features_of(artefact.model, artefact.schema)
    frames = Frames(snapshots, features, absent, is_local=network.is_local, keep=artefact.task.window + 1)
    [(_, h)] = network.judged(frames, range(last, last + 1))
    if isinstance(artefact.task, NodeLabelTask):
        place = frames[last].place[snapshots[last].nodes]
        return _shares_of_nodes(artefact, snapshots, network.logits(h, place[None]).softmax(1))
    [memory] = memories(snapshots, range(last, last + 1), window=artefact.task.window)
    place = frames[last].place
    if isinstance(artefact.task, LinkTask):
        scores = network.pair_scores(h, place, memory)
        pairs, found = best_new_pairs(scores, memory, artefact.task.top, is_directed=snapshots.is_directed)
        return named(snapshots, pairs, as_score(network, found))
    pairs = snapshots[last].nodes[snapshots[last].edge_index]
    logits = network.logits(h, place[pairs], memory.features(pairs) if network.reads_memory else None)
    shares = logits.softmax(1)
    ends = named(snapshots, pairs, shares[:, 0])
    return ends.rename({"score": "class_0"}).with_columns(pl.Series("class_1", shares[:, 1].numpy()))


def best_new_pairs(scores: PairScores, memory: LinkMemory, count: int, *, is_directed: bool) -> tuple[Tensor, Tensor]:
    """The best pairs among those that were never linked."""
    return best_pairs(scores, memory.nodes, count, without=memory.seen_pairs(), is_directed=is_directed)


def best_pairs(
    scores: PairScores, nodes: int, count: int, *, without: Tensor, is_directed: bool
) -> tuple[Tensor, Tensor]:
    """The `count` pairs [2, K] with the highest scores that are not among `without` [2, M, by source], and scores [K].

    A pair of a node with itself is none. Of a pair without a direction the way round with the higher score stands for
    both. Equal scores come in the order of ids.
    """
    wanted = count if is_directed else 2 * count
    best: list[tuple[float, int]] = []  # and minus the pair's number, so that of equal scores the first is largest
    for rows in torch.arange(nodes).split(max(1, ROWS // nodes)):
        block = scores(rows)
        here = (without[0] >= rows[0]) & (without[0] <= rows[-1])
        block[without[0, here] - rows[0], without[1, here]] = -torch.inf
        block[torch.arange(len(rows)), rows] = -torch.inf
        top = block.flatten().topk(min(wanted, block.numel()))
        pairs = top.indices + int(rows[0]) * nodes
        found = [(s, -p) for s, p in zip(top.values.tolist(), pairs.tolist(), strict=True) if s > -torch.inf]
        best = heapq.nlargest(wanted, [*best, *found])
    if not is_directed:  # of the two ways round, the better one comes first
        ways = {tuple(sorted(divmod(-p, nodes))): (s, p) for s, p in reversed(best)}
        best = sorted(ways.values(), reverse=True)[:count]
    key = torch.tensor([-p for _, p in best], dtype=torch.int64)
    return torch.stack([key // nodes, key % nodes]), torch.tensor([s for s, _ in best])


def as_score(network: GraphNetwork, found: Tensor) -> Tensor:
    """What a network says of pairs as numbers between 0 and 1, in the same order.

    Of a stacked one the geometric mean of rule and odds, so that high powers do not round to 1.
    """
    if not network.is_stacked:
        return found.sigmoid()
    mean = found ** (1 / (1 + float(network.power)))
    return mean / (1 + mean)


def _shares_of_nodes(artefact: GraphArtefact, snapshots: Snapshots, shares: Tensor) -> pl.DataFrame:
    """Of each node of the last step the share [n, K] of each class."""
    nodes = pl.Series("node", [snapshots.names[node] for node in snapshots[-1].nodes.tolist()], dtype=pl.String)
    columns = [pl.Series(f"class_{name}", shares[:, k].numpy()) for k, name in enumerate(artefact.config.classes)]
    return pl.DataFrame([nodes, *columns])


def named(snapshots: Snapshots, pairs: Tensor, score: Tensor) -> pl.DataFrame:
    names = pl.Series(snapshots.names, dtype=pl.String)
    source, target = (names.gather(pl.Series(end.numpy())) for end in pairs)
    return pl.DataFrame({"source": source, "target": target, "score": score.numpy()})


def _require_same_kind(artefact: GraphArtefact, snapshots: Snapshots) -> None:
    config = artefact.config
    if (config.interval, config.is_directed) != (snapshots.interval, snapshots.is_directed):
        raise DataError(
            f"the snapshots are {snapshots.interval} long and {_kind(snapshots.is_directed)}, but the model was "
            f"trained on {config.interval} and {_kind(config.is_directed)}; train anew"
        )
    read = features_read(artefact)
    if read and read != list(snapshots.features):
        raise DataError(
            f"the nodes have the features {', '.join(snapshots.features) or 'none'}, but the model was trained on "
            f"{', '.join(read)}; train anew"
        )
    if len(snapshots) < artefact.task.window:
        raise DataError(f"the model reads {artefact.task.window} snapshots but there are {len(snapshots)}")


def _kind(is_directed: bool) -> str:
    return "directed" if is_directed else "undirected"


def cutoff_of(snapshots: Snapshots) -> str:
    return step_name(snapshots.clock[-1])
