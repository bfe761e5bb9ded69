from types import SimpleNamespace

import pytest
from prefect.states import Failed

from data.errors import DataError, StoreProblem
from flows.retry import DELAYS, RETRIES, may_pass
from pipelines.errors import RegistryError, RegistryUnreachable, SpecError, TrainingError


def asked(error, tries=1):
    return may_pass(None, SimpleNamespace(name="ingest tiny", run_count=tries), Failed(data=error))


@pytest.mark.parametrize("error", [OSError("stale handle"), ConnectionError("reset"), RegistryUnreachable("no answer")])
def test_what_may_pass_is_tried_again_and_said(error, capsys):
    assert asked(error)
    assert capsys.readouterr().out == f"ingest tiny: {error}; trying again in 2 s\n"


@pytest.mark.parametrize("kind", [DataError, StoreProblem, SpecError, TrainingError, RegistryError, TypeError])
def test_a_verdict_is_not_tried_again(kind, capsys):
    assert not asked(kind("the same again"))
    assert capsys.readouterr().out == ""


def test_after_the_last_try_nothing_more_is_promised(capsys):
    asked(OSError("gone"), tries=RETRIES + 1)
    assert capsys.readouterr().out == ""
    assert len(DELAYS) == RETRIES
