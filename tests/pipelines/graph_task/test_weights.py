from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data.snapshot_store import SnapshotSet
from pipelines.graph_task.prepare import prepare
from pipelines.graph_task.spec import GraphSpec
from pipelines.graph_task.train import new_network
from pipelines.graph_task.weights import weight_course

Make = Callable[..., GraphSpec]


@pytest.mark.parametrize("policy", ["reset", "carry"])
def test_the_course_begins_with_the_learned_weight_and_has_a_norm_for_each_snapshot_read(
    home: Path, graph_spec: Make, friends: SnapshotSet, policy: str
) -> None:
    spec = graph_spec(model={"policy": policy})
    prepared = prepare(spec, friends)
    network = new_network(prepared, spec.model).eval()
    found = weight_course(prepared, spec.model, network)
    assert found is not None
    assert found.names == ("layer 1", "layer 2")
    read = spec.task.window if policy == "reset" else prepared.ranges.validation_end
    assert found.norms.shape == (2, 1 + read)
    initial = [value.norm() for name, value in network.named_parameters() if name.endswith("initial")]
    torch.testing.assert_close(torch.from_numpy(found.norms[:, 0]).float(), torch.stack(initial).detach())
    assert (found.norms[:, 1] != found.norms[:, 0]).all()


def test_a_static_network_has_none(home: Path, graph_spec: Make, friends: SnapshotSet) -> None:
    spec = graph_spec(model={"name": "gcn"})
    prepared = prepare(spec, friends)
    assert weight_course(prepared, spec.model, new_network(prepared, spec.model).eval()) is None
