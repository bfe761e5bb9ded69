"""What a budget protects is not read without privacy."""

import shutil

import pytest

from pipelines.errors import BudgetRefused
from pipelines.ingest import ingest
from pipelines.spec import Spec


def quietly(line: str) -> None:
    pass


@pytest.fixture
def plain(make) -> Spec:
    return make().model_copy(update={"privacy": None})


def test_protected_files_are_not_read_without_privacy_under_any_name(make, plain, grant):
    grant()
    ingest(make(), say=quietly)
    for name in ("riders", "others"):
        with pytest.raises(BudgetRefused) as refused:
            ingest(plain.model_copy(update={"name": name}), say=quietly)
        assert refused.value.reason == "nonprivate"


def test_what_was_stored_before_the_budget_was_granted_is_refused_too(plain, grant):
    ingest(plain, say=quietly)
    grant()
    with pytest.raises(BudgetRefused):
        ingest(plain, say=quietly)


def test_an_owner_may_allow_it_in_the_house(plain, grant):
    ledger = grant(allow_nonprivate_internal=True)
    ingest(plain, say=quietly)
    ingest(plain, say=quietly)
    assert [entry.get("serving") for entry in ledger.entries(type="reserve")] == ["raw_input_internal"]


def test_other_files_and_homes_without_a_ledger_are_nobodys_business(make, plain, grant, home, folder):
    ingest(plain, say=quietly)
    assert not (home / "ledger.db").exists()
    grant(data_set="something else")
    ingest(plain, say=quietly)
    shutil.rmtree(home)
    ingest(plain, say=quietly)
    assert not (home / "ledger.db").exists()
