"""Edges sorted by target, of one graph and of many."""

import torch

from models.neighbourhoods import KEPT, Neighbourhoods, Tiles, neighbourhoods, side_by_side


def graphs(count: int, nodes: int = 5) -> torch.Tensor:
    torch.manual_seed(0)
    return 3 * torch.rand(count, nodes, nodes) * (torch.rand(count, nodes, nodes) < 0.4)


def same(one: Neighbourhoods, other: Neighbourhoods) -> None:
    for field in ("source", "target", "weight", "ptr"):
        torch.testing.assert_close(getattr(one, field), getattr(other, field))


def test_every_positive_entry_is_an_edge_of_its_own_graph() -> None:
    """Against a loop: row u, column v of graph g is the edge from g N + u to g N + v."""
    weights = graphs(3)
    found = neighbourhoods(weights)
    expected = [
        (5 * g + u, 5 * g + v, weights[g, u, v] / weights[g, :, v][weights[g, :, v] > 0].mean())
        for g in range(3)
        for v in range(5)
        for u in range(5)
        if weights[g, u, v] > 0
    ]
    source, target, weight = zip(*expected, strict=True)
    assert found.source.tolist() == list(source)
    assert found.target.tolist() == list(target)
    torch.testing.assert_close(found.weight, torch.stack(weight))
    assert found.degree.tolist() == (weights > 0).sum(1).flatten().tolist()
    assert found.ptr[0] == 0
    assert found.ptr[-1] == len(source)
    assert found.plan.num_ops == len(source) - (found.degree > 0).sum()


def test_copies_of_a_graph_are_the_graph_side_by_side() -> None:
    weights = graphs(1)
    same(neighbourhoods(weights).tiled(4), neighbourhoods(weights.expand(4, -1, -1)))
    same(neighbourhoods(0 * weights).tiled(4), neighbourhoods(0 * weights.expand(4, -1, -1)))


def test_a_graph_that_stays_is_worked_out_once_and_another_one_anew() -> None:
    tiles, weights = Tiles(), graphs(1)[0]
    first = tiles.of(weights, 3)
    assert tiles.of(weights.clone(), 3) is first
    assert tiles.of(weights, 2) is not first
    weights[0, 1] += 1  # in place, as when weights are loaded
    same(tiles.of(weights, 3), neighbourhoods(weights[None]).tiled(3))
    for copies in range(1, 3 * KEPT):
        tiles.of(weights, copies)
    assert len(tiles._made) == KEPT


def test_steps_lie_window_by_window() -> None:
    weights = graphs(6).unflatten(0, (2, 3))  # [B, S, N, N]
    same(side_by_side(weights.unbind(1), 6, Tiles()), neighbourhoods(weights.flatten(0, 1)))
    still = weights[0, 0]
    same(side_by_side([still] * 3, 6, Tiles()), neighbourhoods(still.expand(6, -1, -1)))
