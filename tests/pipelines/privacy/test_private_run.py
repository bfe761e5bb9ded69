"""A private model all the way through the steps of a run: what is written, and that no figure is told in part."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pipelines.experiment import forecast, points_beside, report
from pipelines.privacy.claim import Protection

Make = Callable[[Protection], Any]


def written(world: Any, folder: Path) -> Path:
    found = forecast(world.spec, world.dataset)
    return report(world.spec, world.dataset, world.trained, world.registered, found, folder / "report.html")


def test_the_report_of_a_private_model_has_its_card_beside_it_here_and_in_mlflow(
    private: Make, released: Protection, tmp_path: Path
) -> None:
    world = private(released)
    page = written(world, tmp_path).read_text()
    assert 'href="model_card.html"' in page
    assert f"{released.claim.sentence.replace(chr(39), '&#39;')}." in page
    assert f"version {world.registered.version}" in (tmp_path / "model_card.html").read_text()
    kept = Path(mlflow.artifacts.download_artifacts(run_id=world.registered.run_id, artifact_path="report"))
    assert {file.name for file in kept.iterdir()} == {"report.html", "model_card.html"}


def test_the_report_of_a_model_without_a_promise_has_no_card(tiny: Any, tmp_path: Path) -> None:
    page = written(tiny, tmp_path).read_text()
    assert "No privacy promise is made of this model." in page
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_report_compares_the_versions_that_the_registry_has(private: Make, released: Protection) -> None:
    looser = replace(released, claim=replace(released.claim, epsilon=3.9))
    private(looser)
    world = private(released)
    found = points_beside(world.registered, released.claim, world.trained.evaluated.backtest)
    assert [(point.version, point.epsilon, point.noise) for point in found] == [
        ("3", 0.9987, 1.5),
        ("2", 3.9, 1.5),
        ("1", None, 0.0),
    ]
    rmse = world.trained.evaluated.backtest.total("gru", "rmse")
    assert [point.rmse for point in found] == pytest.approx([rmse] * 3, rel=1e-5)


def test_a_private_model_is_registered_without_a_warning_that_asks_for_its_data(
    private: Make, released: Protection, recwarn: pytest.WarningsRecorder
) -> None:
    private(released)
    assert not [warning for warning in recwarn if "input example" in str(warning.message)]
