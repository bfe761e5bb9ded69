"""The forecast as tables: which pairs are expected next, or of which class edges and nodes are told to be."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl
import torch

from data.snapshots import UNLABELLED
from models.link_memory import LinkMemory
from pipelines.graph_task.network import GraphNetwork
from pipelines.graph_task.predict import GraphForecast, as_score, best_pairs, named
from pipelines.graph_task.prepare import Prepared
from pipelines.graph_task.spec import GraphModel, LinkTask, NodeLabelTask
from pipelines.report.words import model_title, plural

MOST_ROWS = 30
NEVER = "never"


@dataclass(frozen=True)
class Column:
    title: str
    is_text: bool = False


@dataclass(frozen=True)
class Cell:
    """`value` is what a column is sorted by."""

    text: str
    value: float | str


@dataclass(frozen=True)
class Listing:
    title: str
    columns: Sequence[Column]
    rows: list[list[Cell]]
    caption: str


def listings(prepared: Prepared, model: GraphModel, network: GraphNetwork, found: GraphForecast) -> list[Listing]:
    """`found` is the champion's; what else is told of links comes from this run's `network`."""
    if isinstance(prepared.task, NodeLabelTask):
        return [_told(prepared, found, ["node"], _known_nodes(prepared))]
    if isinstance(prepared.task, LinkTask):
        newest = len(prepared.snapshots) - 1
        [memory] = prepared.memories(range(newest, newest + 1))
        return [_expected(prepared, model, network, memory), _new(prepared, found, memory)]
    return [_told(prepared, found, ["source", "target"], _known_edges(prepared))]


def _word(text: str) -> Cell:
    return Cell(text, text)


def _count(number: int) -> Cell:
    return Cell(f"{number:,}", number)


def _score(value: float) -> Cell:
    return Cell(f"{value:.4f}", value)


# ---------------------------------------------------------------- links


@torch.no_grad()
def _expected(prepared: Prepared, model: GraphModel, network: GraphNetwork, memory: LinkMemory) -> Listing:
    """The best of all pairs, those that were linked before among them."""
    snapshots, last = prepared.snapshots, len(prepared.snapshots) - 1
    frames = prepared.frames(model, is_local=network.is_local)
    [(_, h)] = network.judged(frames, range(last, last + 1))
    scores = network.pair_scores(h, frames[last].place, memory)
    none = torch.empty(2, 0, dtype=torch.int64)
    pairs, values = best_pairs(scores, prepared.nodes, MOST_ROWS, without=none, is_directed=snapshots.is_directed)
    frame = named(snapshots, pairs, as_score(network, values))
    rows = [
        [_word(u), _word(v), _score(score), _ago(age)]
        for (u, v, score), age in zip(frame.iter_rows(), memory.age(pairs).tolist(), strict=True)
    ]
    again = sum(row[-1].text != NEVER for row in rows)
    return Listing(
        "Expected next, of all pairs",
        [*_ends(prepared), Column("score"), Column("last linked")],
        rows,
        f"How to read: by this run's {model_title(model.label)}, the {plural(len(rows), 'pair')} with the highest "
        f"scores for the step after the newest; {again} of them were linked before. A score orders pairs and is no "
        f"probability.{_tied(frame)} Click a title to sort.",
    )


def _tied(frame: pl.DataFrame) -> str:
    """A warning where there is no list, or its head is in no order of the model's."""
    if frame.is_empty():
        return " There is no such pair."
    tied = int((frame["score"] == frame["score"].max()).sum())
    return f" {tied:,} of them share the highest score, so their order says nothing." if tied > 1 else ""


def _ago(age: float) -> Cell:
    """Of a pair that was last linked so many steps ago; NaN where it never was."""
    if math.isnan(age):
        return Cell(NEVER, 1e9)
    return Cell("in the newest step" if age == 0 else f"{plural(int(age), 'step')} ago", age)


def _ends(prepared: Prepared) -> list[Column]:
    titles = ("from", "to") if prepared.snapshots.is_directed else ("node", "other node")
    return [Column(title, is_text=True) for title in titles]


def _new(prepared: Prepared, found: GraphForecast, memory: LinkMemory) -> Listing:
    """The forecast itself, with what is known of the two nodes."""
    number = {name: place for place, name in enumerate(prepared.snapshots.names)}
    seen = memory.seen_pairs()
    around: dict[int, set[int]] = {}

    def partners(name: str) -> set[int]:
        node = number[name]
        if node not in around:
            around[node] = set(seen[1, seen[0] == node].tolist())
        return around[node]

    rows = [
        [_word(u), _word(v), _score(score), *map(_count, (len(partners(u)), len(partners(v)), _shared(partners, u, v)))]
        for u, v, score in found.frame.head(MOST_ROWS).iter_rows()
    ]
    return Listing(
        "Forecast: pairs that were never linked",
        [*_ends(prepared), Column("score"), Column("its partners"), Column("the other's"), Column("in common")],
        rows,
        f"How to read: by the champion ({model_title(found.model)}, version {found.version}), the first {len(rows)} of "
        f"{plural(len(found.frame), 'pair')} of the forecast, none of which was ever linked; partners are the nodes "
        f"that each was linked with so far.{_tied(found.frame)}",
    )


def _shared(partners: Callable[[str], set[int]], one: str, other: str) -> int:
    return len(partners(one) & partners(other))


# ---------------------------------------------------------------- classes


def _known_nodes(prepared: Prepared) -> dict[tuple[str, ...], str]:
    """The classes of the newest step, as far as they are known."""
    newest, names = prepared.snapshots[-1], prepared.snapshots.names
    assert newest.node_label is not None
    labels = zip(newest.nodes.tolist(), newest.node_label.tolist(), strict=True)
    return {(names[node],): prepared.classes[label] for node, label in labels if label != UNLABELLED}


def _known_edges(prepared: Prepared) -> dict[tuple[str, ...], str]:
    newest, names = prepared.labelled(len(prepared.snapshots) - 1), prepared.snapshots.names
    ends = zip(*newest.members.tolist(), newest.label.tolist(), strict=True)
    return {(names[u], names[v]): prepared.classes[label] for u, v, label in ends}


def _told(prepared: Prepared, found: GraphForecast, keys: list[str], known: dict[tuple[str, ...], str]) -> Listing:
    """Those that are most likely of the rare class, with the class that they are told to be and the one known."""
    rare = prepared.classes[prepared.minority]
    classes = [f"class_{name}" for name in prepared.classes]
    told = pl.concat_list(classes).list.arg_max()
    frame = found.frame.with_columns(told=told).sort(f"class_{rare}", *keys, descending=[True, *[False] * len(keys)])
    rows = [
        [
            *(_word(row[key]) for key in keys),
            _word(prepared.classes[row["told"]]),
            _score(row[f"class_{rare}"]),
            _word(known.get(tuple(row[key] for key in keys), "not known")),
        ]
        for row in frame.head(MOST_ROWS).iter_rows(named=True)
    ]
    heads = [Column("node", is_text=True)] if len(keys) == 1 else _ends(prepared)
    counts = frame["told"].value_counts().sort("told").iter_rows()
    sizes = ", ".join(f"{count:,} of class {prepared.classes[k]}" for k, count in counts)
    what = "node" if len(keys) == 1 else "edge"
    return Listing(
        f"Most likely of class {rare}, the rare one",
        [*heads, Column("told to be", is_text=True), Column(f"share of {rare}"), Column("in the data", is_text=True)],
        rows,
        f"How to read: by the champion ({model_title(found.model)}, version {found.version}), the {len(rows)} of "
        f"{plural(len(frame), what)} in the newest step that are most likely of class {rare}; in all it tells {sizes}. "
        "The last column is the class in the data, where it is known. Click a title to sort.",
    )
