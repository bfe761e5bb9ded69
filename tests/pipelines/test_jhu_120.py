"""ReGENN's bundled experiment: the first 120 days of COVID-19, and what must stand beside it."""

import pytest

from data.dataset import DataSet
from data.splits import Ranges, sample_starts
from models.regenn_reference import cut_starts
from pipelines.ingest import ingest
from pipelines.prepare import prepare
from pipelines.spec import load_spec


@pytest.fixture(scope="module")
def dataset() -> DataSet:
    return ingest(load_spec("jhu-120"), say=lambda line: None)


def test_its_ranges_are_those_of_the_paper_s_protocol(dataset: DataSet) -> None:
    """65 training windows, one that stops the training, one that is judged; countries and days as they are."""
    prepared = prepare(load_spec("jhu-120"), dataset)
    assert prepared.ranges == Ranges(92, 106, 120)
    assert (prepared.shape.window, prepared.shape.horizon, prepared.is_count) == (14, 14, True)
    assert prepared.panel.mask.all()
    paper, lengths = cut_starts(120, window=14, horizon=14, reserved=14), {"window": 14, "horizon": 14}
    assert sample_starts(0, 92, **lengths) == paper.train == range(65)
    assert list(sample_starts(92, 106, **lengths)) == [paper.validation]
    assert list(sample_starts(106, 120, **lengths)) == [paper.test]
