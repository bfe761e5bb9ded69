"""ReGENN's bundled experiment: the first 120 days of COVID-19, and what must stand beside it."""

import re
from itertools import permutations
from pathlib import Path

import pytest

from data.dataset import DataSet
from data.splits import Ranges, sample_starts
from models.regenn_reference import cut_starts
from pipelines.artefact import describe_artefact, save_artefact
from pipelines.experiment import Trained, train
from pipelines.explain import explain
from pipelines.ingest import ingest
from pipelines.predict import Predictor
from pipelines.prepare import prepare
from pipelines.report import write_report
from pipelines.report.comparison import compare, verdict
from pipelines.results import Forecast
from pipelines.spec import Spec, load_spec
from pipelines.tables import score_table


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


# ---------------------------------------------------------------- what stands beside it


@pytest.fixture(scope="module")
def spec() -> Spec:
    """Two epochs are enough to have a model to compare."""
    whole = load_spec("jhu-120")
    return whole.model_copy(update={"training": whole.training.model_copy(update={"epochs": 2})})


@pytest.fixture(scope="module")
def trained(spec: Spec, dataset: DataSet) -> Trained:
    return train(spec, dataset, say=lambda line: None)


@pytest.mark.parametrize(
    ("yardstick", "mae", "rmse", "msle"),
    [
        ("naive", 1854, 11281, 0.148),
        ("linear", 748, 4396, 0.093),
        ("seasonal_naive_week", 2541, 14572, 0.266),
    ],
)
def test_yardsticks_are_those_that_the_benchmark_measured(
    trained: Trained, yardstick: str, mae: float, rmse: float, msle: float
) -> None:
    """`benchmarks/regenn.md`."""
    result = trained.evaluated.backtest
    assert result.total(yardstick, "mae") == pytest.approx(mae, abs=0.5)
    assert result.total(yardstick, "rmse") == pytest.approx(rmse, abs=0.5)
    assert result.total(yardstick, "msle") == pytest.approx(msle, abs=0.0005)


def test_persistence_and_the_linear_continuation_stand_beside_the_model_in_table_and_report(
    spec: Spec, dataset: DataSet, trained: Trained, tmp_path: Path
) -> None:
    result = trained.evaluated.backtest
    told = re.findall(r"^  (linear|naive|regenn \*) ", score_table(result), flags=re.MULTILINE)
    assert set(told) == {"linear", "naive", "regenn *"}
    page = written(spec, dataset, trained, tmp_path)
    section = page.split('<section id="yardsticks">')[1].split("</section>")[0]
    titles = {title.strip() for title in re.findall(r'<th scope="row">([^<]*)', section)}
    assert {"ReGENN", "Naive (last value)", "Linear continuation"} <= titles
    assert "MSLE" in section
    assert verdict(compare(result)) in page


def test_what_moves_what_is_told_of_the_three_counts(
    spec: Spec, dataset: DataSet, trained: Trained, tmp_path: Path
) -> None:
    section = written(spec, dataset, trained, tmp_path).split('<section id="relations">')[1].split("</section>")[0]
    assert "What moves what" in section
    rows = re.findall(r'<th scope="row">(\w+)</th><td class="name">(\w+)</td>', section)
    assert set(rows) == set(permutations(("confirmed", "deaths", "recovered"), 2))


def written(spec: Spec, dataset: DataSet, trained: Trained, folder: Path) -> str:
    evaluated = trained.evaluated
    save_artefact(folder / "artefact", describe_artefact(spec, trained.prepared, evaluated), evaluated)
    ahead = Predictor.load(folder / "artefact").forecast_panel(dataset.panel)
    page = write_report(
        spec=spec,
        dataset=dataset,
        backtest=evaluated.backtest,
        forecast=Forecast(spec.model.name, None, dataset.panel.index[-1], ahead),
        history=evaluated.fitted.history,
        registered=None,
        path=folder / "report.html",
        explanation=explain(trained.prepared, evaluated.fitted),
    )
    return page.read_text(encoding="utf-8")
