"""Data that a budget protects are not trained on without privacy, unless their owner allows it; then in the house."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
from fastapi.testclient import TestClient

from pipelines.errors import BudgetRefused, ServingRefused
from pipelines.experiment import enrol, forecast, save_forecast, train
from pipelines.privacy.claim import Protection
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.ledger.records import Policy
from pipelines.privacy.serving import RAW
from pipelines.privacy.unprotected import NOTHING_PROMISED
from pipelines.register import newest_window, register
from pipelines.serve import create_app
from pipelines.settings import datasets


def quietly(line: str) -> None:
    pass


@pytest.fixture
def own_home(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the tiny model left, where no ledger is yet and what is registered disturbs nobody."""
    home = tmp_path / "home"
    for folder in ("datasets", "runs"):
        shutil.copytree(tiny.home / folder, home / folder)
    shutil.copy(tiny.home / "mlflow.db", home / "mlflow.db")
    monkeypatch.setenv("FLOCKCAST_HOME", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    assert datasets().exists()
    return home


@pytest.fixture
def protect(own_home: Path) -> Callable[..., Ledger]:
    def granted(**more: Any) -> Ledger:
        ledger = Ledger.open()
        policy = Policy("default", "tiny", "user_day", epsilon=1.1, delta=1e-6, order=20.0, **more)
        ledger.grant(policy, actor="owner", reason="a test")
        return ledger

    return granted


def test_protected_data_are_not_trained_on_without_privacy_and_the_refusal_says_what_to_do(
    tiny: Any, protect: Callable[..., Ledger]
) -> None:
    ledger = protect()
    with pytest.raises(BudgetRefused, match=r"mechanism = 'release' or 'dp_sgd' in \[privacy\]") as refused:
        train(tiny.spec, tiny.dataset, say=quietly)
    assert refused.value.reason == "nonprivate"
    assert [entry.type for entry in ledger.entries(data_set="tiny")] == ["policy", "refuse"]


def test_without_a_ledger_nobody_is_asked_and_none_is_made(tiny: Any, own_home: Path) -> None:
    assert not train(tiny.spec, tiny.dataset, say=quietly).evaluated.is_internal
    assert not (own_home / "ledger.db").exists()


def test_a_budget_of_other_data_stops_nobody(tiny: Any, protect: Callable[..., Ledger]) -> None:
    protect()
    assert not train(tiny.spec.model_copy(update={"name": "other"}), tiny.dataset, say=quietly).evaluated.is_internal


def test_what_the_owner_allows_is_in_the_ledger_and_its_forecasts_stay_in_the_house(
    tiny: Any, protect: Callable[..., Ledger], own_home: Path, tmp_path: Path
) -> None:
    ledger = protect(allow_nonprivate_internal=True)
    trained = train(tiny.spec, tiny.dataset, say=quietly)
    assert [entry.type for entry in ledger.entries(data_set="tiny")][1:] == ["reserve", "start", "commit"]
    registered, known = enrol(tiny.spec, tiny.dataset, trained, say=quietly)
    assert not known, "an equal version from before the budget has no mark"
    mlflow.MlflowClient().set_registered_model_alias("tiny", "champion", registered.version)

    found = forecast(tiny.spec, tiny.dataset)
    with pytest.raises(ServingRefused, match="outside FLOCKCAST_HOME"):
        save_forecast(found, tmp_path / "outside.parquet")
    told = pl.read_parquet_metadata(save_forecast(found, own_home / "inside.parquet"))
    assert told["flockcast.privacy.mark"] == RAW
    with TestClient(create_app()) as app:
        answer = app.post("/v1/forecasts", json={"data_set": "tiny"}).json()["privacy"]
        newest = app.get("/v1/models").json()["models"][0]
    assert answer == {"input": "raw", "mark": RAW, "exportable": False, "claim": NOTHING_PROMISED}
    assert (newest["version"], newest["mae"], newest["privacy"]) == (registered.version, None, None)
    model = mlflow.pyfunc.load_model(f"models:/tiny/{registered.version}")
    assert model.predict(newest_window(trained.prepared))["mark"].unique().tolist() == [RAW]
    assert len((own_home / "access" / "raw_forecasts.jsonl").read_text().splitlines()) == 3


def test_a_model_that_protects_nobody_takes_no_place_from_one_that_does(
    tiny: Any, private: Callable[[Protection], Any], released: Protection, monkeypatch: pytest.MonkeyPatch
) -> None:
    private(released)
    monkeypatch.setattr("pipelines.register.protection_of", lambda _: None)
    evaluated = replace(tiny.trained.evaluated, is_internal=True)
    found = register(tiny.spec, tiny.dataset, tiny.trained.prepared, evaluated)
    assert found.alias == "challenger"
    assert "it protects nobody" in found.reason
