"""Samples that no series holds stand behind those of a series, and rows mean the same in any order."""

from dataclasses import replace

import pytest
import torch

from data.appended import FIELDS, Appended
from data.windows import Batch, Series, WindowSampler

WINDOW, HORIZON, EXTRA = 4, 2, 5


def series(*, edges: bool) -> Series:
    clock = torch.arange(20, dtype=torch.float64).reshape(-1, 1, 1).expand(20, 3, 1).clone()
    links = torch.rand(20, 3, 3) if edges else None
    return Series(values=clock, mask=clock >= 0, calendar=torch.rand(20, 3), edges=links)


def both(*, edges: bool = False) -> tuple[Appended, WindowSampler, Batch]:
    lengths = {"window": WINDOW, "horizon": HORIZON}
    own = WindowSampler(series(edges=edges), torch.arange(15), edge_steps=2 if edges else 0, **lengths)
    others = WindowSampler(series(edges=False), torch.arange(EXTRA), **lengths).take(slice(None))
    extra = replace(others, x=others.x + 1000.0)
    return Appended(own, extra), own, extra


def test_rows_in_any_order_are_the_series_samples_and_then_the_others():
    appended, own, extra = both()
    assert len(appended) == 15 + EXTRA
    rows = torch.tensor([17, 3, 14, 15, 0, 19])
    batch = appended.take(rows)
    for name in FIELDS:
        whole = torch.cat([getattr(own.take(slice(None)), name), getattr(extra, name)])
        torch.testing.assert_close(getattr(batch, name), whole[rows])


@pytest.mark.parametrize("rows", [[0, 1], [15, 19], []])
def test_a_batch_may_hold_one_kind_alone_or_nothing(rows):
    appended, _, _ = both()
    assert len(appended.take(torch.tensor(rows, dtype=torch.long)).x) == len(rows)


def test_batches_hold_every_sample_once():
    appended, own, extra = both()
    seen = torch.cat([batch.x for batch in appended.batches(4)])
    torch.testing.assert_close(seen, torch.cat([own.take(slice(None)).x, extra.x]))


def test_where_a_network_reads_edges_the_others_have_none():
    appended, own, _ = both(edges=True)
    batch = appended.take(torch.tensor([16, 2]))
    assert batch.edges is not None
    assert not batch.edges[0].any()
    torch.testing.assert_close(batch.edges[1], own.take(slice(2, 3)).edges[0])
