"""A promise that the data can't support is refused, with what can be claimed."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SpecError
from pipelines.privacy.claimable import counts_of
from pipelines.spec import Spec, parse_spec

SPAN = {"start": "2024-01-01", "end": "2024-02-01"}
ZONES = {"zones": {"file": "zones.csv", "id": "zone"}}
COLUMNS = {"start": "a", "end": "b", "source": "c", "target": "d"}
KINDS: dict[str, dict[str, Any]] = {
    "trips": {"kind": "trips", "files": "x.csv", "columns": COLUMNS, **SPAN, **ZONES},
    "od": {"kind": "od", "files": "x.csv", **SPAN, **ZONES},
    "long": {"kind": "long", "files": "x.csv", "interval": "1h", "values": "counts", **SPAN, **ZONES},
    "wide": {
        "kind": "wide",
        "files": "x.csv",
        "interval": "1h",
        "values": "counts",
        "columns": {"values": ["r1", "r2"]},
        **SPAN,
    },
}
RIDER = {"unit": "user_day", "person": "rider", "trips_per_unit": 4}
PRESENT = {"unit": "user_day", "one_place_per_step": True}
TRIP = {"unit": "trip"}


def spec(kind: str, privacy: dict[str, Any], data: dict[str, Any] | None = None, **tables: Any) -> Spec:
    merged = {key: value for key, value in {**KINDS[kind], **(data or {})}.items() if value is not None}
    release = {"mechanism": "release", "epsilon": 1.0, **privacy}
    return parse_spec({"name": "x", "data": merged, "privacy": release, **tables}, folder=Path())


@pytest.mark.parametrize(
    ("kind", "privacy"),
    [
        ("trips", RIDER),
        ("trips", {**RIDER, "unit": "user_week"}),
        ("trips", {**RIDER, "unit": "user", "span": "January"}),
        ("trips", TRIP),
        ("od", TRIP),
        ("long", PRESENT),
        ("wide", PRESENT),
    ],
)
def test_what_the_data_support_can_be_claimed(kind, privacy):
    assert spec(kind, privacy).privacy.unit == privacy["unit"]


@pytest.mark.parametrize(
    ("kind", "privacy", "data", "message"),
    [
        ("trips", {"unit": "user_day"}, {}, "set privacy.person; without one, what can be claimed is unit 'trip'"),
        ("trips", {"unit": "user_day", "person": "rider"}, {}, "needs privacy.trips_per_unit"),
        ("trips", {**TRIP, "person": "rider"}, {}, "leave out person and the bounds"),
        ("trips", {**RIDER, "one_place_per_step": True}, {}, "one_place_per_step says nothing of data of kind trips"),
        ("od", {"unit": "user_day"}, {}, "what can is unit 'trip'"),
        ("od", {**TRIP, "person": "rider"}, {}, "person says nothing of data of kind od"),
        ("long", {"unit": "user_day"}, {}, "mechanism = 'dp_sgd' and unit = 'slot'"),
        ("long", TRIP, {}, "unit 'user_day' can be claimed"),
        ("wide", {**PRESENT, "counts": "flows"}, {}, "counts says nothing of data of kind wide"),
        ("long", PRESENT, {"values": "real"}, "is of counts"),
        ("long", PRESENT, {"edges": {"files": "edges.csv"}}, "no noise protects it"),
        ("trips", RIDER, {"start": None}, "needs data.start and data.end"),
        ("trips", RIDER, {"zones": None}, "needs a table of the known nodes"),
        ("long", PRESENT, {"zones": None}, "needs a table of the known nodes"),
        ("wide", PRESENT, {"columns": {}}, "needs its nodes named"),
        ("wide", PRESENT, {"interval": "auto"}, "needs data.interval"),
    ],
)
def test_what_they_do_not_support_is_refused_with_the_reason(kind, privacy, data, message):
    with pytest.raises(SpecError, match=message):
        spec(kind, privacy, data)


def test_flows_are_released_where_something_reads_them_and_only_there():
    def counts(**tables: Any) -> str:
        found = spec("trips", RIDER, **tables)
        return counts_of(found, found.privacy)

    assert counts() == "nodes"
    assert counts(task={"forecast": "flows"}) == "flows"
    assert counts(model={"name": "gcn", "graph": "flows-mean"}) == "flows"
    assert counts(model={"name": "gcn", "graph": "correlation"}) == "nodes"
    with pytest.raises(SpecError, match="releases no flows"):
        spec("trips", {**RIDER, "counts": "nodes"}, task={"forecast": "flows"})


def test_a_likelihood_of_counts_is_refused_for_counts_below_zero():
    with pytest.raises(SpecError, match="may be below zero"):
        spec("trips", RIDER, task={"forecast": "flows"}, model={"name": "evolvegcn-flows"})
