"""Figures of classes by step, against those of each step judged alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import torch

from data.snapshot_store import SnapshotSet
from pipelines.graph_task.evaluate import judge_classes
from pipelines.graph_task.prepare import prepare
from pipelines.graph_task.spec import GraphSpec
from pipelines.graph_task.train import new_network

Make = Callable[..., GraphSpec]


@pytest.mark.parametrize("model", [{}, {"policy": "carry"}, {"pair_memory": True}], ids=str)
def test_a_step_has_the_figures_that_it_has_alone(
    home: Path, graph_spec: Make, friends: SnapshotSet, model: dict
) -> None:
    spec = graph_spec(task={"kind": "edge_labels"}, model=model)
    prepared = prepare(spec, friends)
    network = new_network(prepared, spec.model).eval()
    networks = {"ours": (network, prepared.frames(spec.model, is_local=True))}
    test = prepared.ranges.test
    pooled, steps = judge_classes(networks, prepared, ["majority"], test)
    for sample in test:
        alone, _ = judge_classes(networks, prepared, ["majority"], range(sample, sample + 1))
        assert steps.filter(pl.col("step") == sample).drop("step").equals(alone, null_equal=True), sample
    sizes = {sample: len(prepared.labelled(sample).label) for sample in test}
    assert len(set(sizes.values())) > 1  # so that a plain mean over steps would differ
    for name, share in pooled.select("model", "micro_f1").iter_rows():
        here = steps.filter(pl.col("model") == name)
        hits = sum(sizes[step] * value for step, value in here.select("step", "micro_f1").iter_rows())
        assert share == pytest.approx(hits / sum(sizes.values()))


def test_the_commonest_class_of_training_is_named_every_time(
    home: Path, graph_spec: Make, friends: SnapshotSet
) -> None:
    """So its own F1 has every member found, and every other sample named in vain."""
    prepared = prepare(graph_spec(task={"kind": "edge_labels"}), friends)
    seen, tested = (
        torch.cat([prepared.labelled(sample).label for sample in samples]).bincount(minlength=2)
        for samples in (range(prepared.ranges.train_end), prepared.ranges.test)
    )
    common = int(seen.argmax())
    hits, samples = int(tested[common]), int(tested.sum())
    pooled, _ = judge_classes({}, replace(prepared, minority=common), ["majority"], prepared.ranges.test)
    assert pooled["micro_f1"][0] == pytest.approx(hits / samples)
    assert pooled["minority_f1"][0] == pytest.approx(2 * hits / (hits + samples))
