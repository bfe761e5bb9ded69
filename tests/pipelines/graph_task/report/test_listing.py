"""The forecast as tables, found a second way from dense scores and a loop over the snapshots."""

from collections import defaultdict
from dataclasses import replace
from itertools import combinations

import polars as pl
import torch

from pipelines.graph_task.report.listing import MOST_ROWS, NEVER, Listing, listings


def tables(run) -> list[Listing]:
    return listings(run.trained.prepared, run.spec.model, run.trained.evaluated.fitted.network, run.found)


def values(table: Listing) -> list[list[float | str]]:
    return [[cell.value for cell in row] for row in table.rows]


def history(run) -> dict[frozenset[str], int]:
    """Pair -> the step in which it was last linked."""
    names, last = run.dataset.snapshots.names, {}
    for step, graph in enumerate(run.dataset.snapshots):
        for u, v in graph.nodes[graph.edge_index].T.tolist():
            last[frozenset((names[u], names[v]))] = step
    return last


def test_the_expected_pairs_are_the_best_of_all_and_say_when_they_were_last_linked(links) -> None:
    network, prepared = links.trained.evaluated.fitted.network, links.trained.prepared
    last = len(prepared.snapshots) - 1
    [memory] = prepared.memories(range(last, last + 1))
    frames = prepared.frames(links.spec.model, is_local=True)
    [(_, h)] = network.judged(frames, range(last, last + 1))
    with torch.no_grad():
        dense = network.pair_scores(h, frames[last].place, memory)(torch.arange(prepared.nodes)).sigmoid()
    names, linked = prepared.snapshots.names, history(links)
    either = {
        frozenset((names[u], names[v])): max(float(dense[u, v]), float(dense[v, u]))
        for u, v in combinations(range(prepared.nodes), 2)
    }
    expected = tables(links)[0]
    scores = [row[2] for row in values(expected)]
    torch.testing.assert_close(torch.tensor(scores), torch.tensor(sorted(either.values(), reverse=True)[:MOST_ROWS]))
    texts = set()
    for u, v, score, age in expected.rows:
        pair = frozenset((u.text, v.text))
        torch.testing.assert_close(score.value, either[pair], rtol=1e-4, atol=1e-6)
        assert age.value == (last - linked[pair] if pair in linked else 1e9)
        texts.add(age.text)
    assert {NEVER, "in the newest step"} & texts


def test_new_pairs_have_the_partners_of_both_and_those_in_common(links) -> None:
    partners = defaultdict(set)
    for pair in history(links):
        for node in pair:
            partners[node] |= pair - {node}
    table = tables(links)[1]
    assert 0 < len(table.rows) <= MOST_ROWS
    for u, v, _, *counts in values(table):
        assert frozenset((u, v)) not in history(links)
        assert counts == [len(partners[u]), len(partners[v]), len(partners[u] & partners[v])]


def test_a_list_whose_head_is_in_no_order_says_so(links) -> None:
    assert "share the highest score" not in tables(links)[1].caption
    tied = links.found.frame.with_columns(score=pl.lit(0.5))
    captions = tables(replace(links, found=replace(links.found, frame=tied)))[1].caption
    assert f"{len(tied)} of them share the highest score" in captions


def test_classes_of_nodes_stand_beside_those_in_the_data(runs) -> None:
    run = runs["node_labels"]
    [table] = tables(run)
    assert run.trained.prepared.classes == ("<b>glad</b>", "sad")
    shares = {row["node"]: row["class_sad"] for row in run.found.frame.iter_rows(named=True)}
    newest, names = run.dataset.snapshots[-1], run.dataset.snapshots.names
    assert len(table.rows) == len(newest.nodes) == len(shares)
    assert [row[2] for row in values(table)] == sorted(shares.values(), reverse=True)
    for node, told, share, known in values(table):
        assert shares[node] == share
        assert told == ("sad" if share > 0.5 else "<b>glad</b>")
        truth = "not known" if node == "n11" else "sad" if names.index(node) in sad(run) else "<b>glad</b>"
        assert known == truth


def sad(run) -> set[int]:
    """Every third name has that mood in the file."""
    names = run.dataset.snapshots.names
    return {place for place, name in enumerate(names) if name[:1] == "<" or int(name[1:]) % 3 == 0}


def test_edges_have_the_class_of_the_newest_ratings(runs) -> None:
    run = runs["edge_labels"]
    [table] = tables(run)
    newest, names = run.dataset.snapshots[-1], run.dataset.snapshots.names
    ends = newest.nodes[newest.edge_index].T.tolist()
    truth = {(names[u], names[v]): str(label) for (u, v), label in zip(ends, newest.edge_label.tolist(), strict=True)}
    assert len(table.rows) == min(MOST_ROWS, len(truth))
    assert {row[-1] for row in values(table)} == set(truth.values()) == {"0", "1"}
    for u, v, _, _, known in values(table):
        assert truth[u, v] == known


def test_where_every_pair_was_linked_the_forecast_has_no_rows_and_says_so(links) -> None:
    found = replace(links.found, frame=links.found.frame.clear())
    expected, new = listings(links.trained.prepared, links.spec.model, links.trained.evaluated.fitted.network, found)
    assert (len(new.rows), "There is no such pair" in new.caption) == (0, True)
    assert "There is no such pair" not in expected.caption
