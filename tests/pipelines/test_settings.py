import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import settings


def test_everything_lives_under_the_home_that_the_environment_names(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert settings.datasets() == tmp_path / "datasets"
    assert settings.tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    for place in (settings.quarantine(), settings.runs(), settings.artifacts()):
        assert place.parent == tmp_path


@pytest.mark.parametrize("unset", ["", None])
def test_without_it_home_is_the_users_data_folder(monkeypatch, unset):
    monkeypatch.delenv("FLOCKCAST_HOME", raising=False)
    if unset is not None:
        monkeypatch.setenv("FLOCKCAST_HOME", unset)
    assert settings.home().name == "flockcast"
    assert settings.home().is_absolute()


def test_a_tilde_and_a_relative_home_are_made_absolute(monkeypatch):
    monkeypatch.setenv("FLOCKCAST_HOME", "~/birds")
    assert settings.home() == Path.home() / "birds"
    monkeypatch.setenv("FLOCKCAST_HOME", "birds")
    assert settings.home() == Path.cwd() / "birds"


def test_the_spec_chooses_the_tracking_store_before_the_environment_does(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    assert settings.tracking_uri("http://spec") == "http://spec"
    assert settings.tracking_uri() == "http://environment"


def test_a_setting_that_a_person_made_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "6"})
    settings.apply_environment()
    assert os.environ["OMP_NUM_THREADS"] == "6"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_every_variable_that_is_read_is_documented():
    read = set(re.findall(r'environ\.get\("(\w+)"', Path(settings.__file__).read_text()))
    assert read == {"FLOCKCAST_HOME", "FLOCKCAST_LEDGER", "FLOCKCAST_LEDGER_MODE", "MLFLOW_TRACKING_URI"}
    assert all(name in (settings.__doc__ or "") for name in read)


def test_the_settings_load_nothing_heavy():
    heavy = "{'polars', 'pandas', 'numpy', 'torch', 'mlflow', 'prefect', 'pydantic'}"
    program = f"import pipelines.settings, sys; print(sorted({heavy} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
