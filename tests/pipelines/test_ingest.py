import stat
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data import store
from data.errors import DataError, TooManyRejected
from pipelines import settings
from pipelines.errors import StoreError
from pipelines.ingest import describe, ingest, ingest_or_reuse
from pipelines.spec import Spec, load_spec, parse_spec


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Where a spec and its file lie: 30 hours of two series."""
    hours = [f"2024-03-{1 + hour // 24:02} {hour % 24:02}:00" for hour in range(30)]
    rows = [f"{id},{hour},{len(id) + i}" for id in ("a", "bb") for i, hour in enumerate(hours)]
    (tmp_path / "birds.csv").write_text("\n".join(["unique_id,ds,y", *rows, ""]))
    return tmp_path


def spec_in(folder: Path, **data: object) -> Spec:
    return parse_spec({"name": "birds", "data": {"kind": "long", "files": "birds.csv"} | data}, folder=folder)


def add(folder: Path, *rows: str) -> None:
    with (folder / "birds.csv").open("a") as file:
        file.write("\n".join([*rows, ""]))


def told(spec: Spec, **options: bool) -> list[str]:
    said: list[str] = []
    ingest(spec, say=said.append, **options)
    return said


# ---------------------------------------------------------------- the bundled data


def test_every_green_taxi_trip_is_a_flow_or_has_a_reason():
    dataset = ingest(load_spec("nyc-green"))
    manifest = dataset.manifest
    assert manifest.rows_read == 205_064
    assert dataset.flows is not None
    assert dataset.flows["weight"].sum() + sum(manifest.rejected.values()) == 205_064
    assert manifest.rejected["unknown zone"] == 2_123
    assert dataset.panel.values.shape == (2159, 263, 2)  # 90 days of 24 hours less the one that spring skips


@pytest.mark.parametrize(
    ("name", "shape", "rows_read"),
    [
        ("oslo-bikes", (2184, 274, 2), 83_012),
        ("paris-counts", (3506, 6, 1), 3_456),
        ("jhu-covid", (1143, 287, 3), 3_429),
        ("jhu-120", (120, 183, 3), 21_960),
    ],
)
def test_the_other_bundled_specs_read_all_their_rows_and_load_as_they_were_stored(name, shape, rows_read):
    read, reused = ingest_or_reuse(load_spec(name))
    again, reused_again = ingest_or_reuse(load_spec(name))
    assert read.panel.values.shape == shape
    assert read.manifest.rows_read == rows_read == read.manifest.rows_used + sum(read.manifest.rejected.values())
    assert (reused, reused_again) == (False, True)
    np.testing.assert_array_equal(again.panel.values, read.panel.values)
    assert again.manifest == read.manifest
    assert all(source.startswith("bundled:") for source in read.manifest.sources)


# ---------------------------------------------------------------- once, and again when something changed


def test_an_unchanged_source_is_not_read_again(folder, monkeypatch):
    first = told(spec_in(folder))
    monkeypatch.setattr("pipelines.reading.read_long", None)
    second = told(spec_in(folder))
    assert first[0].startswith("read 60 rows from birds.csv in ")
    assert first[0].endswith(": 60 used, 0 rejected")
    assert second == [f"{first[1]}: files and settings unchanged, re-used"]
    assert first[1].endswith("(30 hours x 2 nodes: y)")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder, patch: add(folder, "a,2024-03-02 06:00,1"),
        lambda folder, patch: patch.setattr("pipelines.sources.code_fingerprint", lambda room: "newer"),
    ],
    ids=["a row more", "other code"],
)
def test_a_change_of_the_file_or_of_our_code_reads_anew(folder, monkeypatch, change):
    told(spec_in(folder))
    change(folder, monkeypatch)
    assert told(spec_in(folder))[0].startswith("read ")


def test_a_change_of_the_data_table_reads_anew_and_other_tables_do_not_matter(folder):
    told(spec_in(folder))
    other = spec_in(folder).model_copy(update={"description": "another"})
    assert told(other)[0].endswith("re-used")
    assert told(spec_in(folder, timezone="Asia/Tokyo"))[0].startswith("read ")


def test_fresh_reads_anew_and_finds_the_same_version(folder):
    first, second = told(spec_in(folder)), told(spec_in(folder), fresh=True)
    assert second[0].startswith("read ")
    assert second[1] == first[1]


def test_a_damaged_data_set_is_named_read_anew_and_mended(folder):
    dataset = ingest(spec_in(folder))
    file = settings.datasets() / "birds" / dataset.manifest.version / "panel.parquet"
    file.write_bytes(b"PAR1 no more")
    said = told(spec_in(folder))
    assert said[0] == f"{file} is damaged or missing; ingest its source again: doing so"
    assert said[1].startswith("read 60 rows")
    assert store.damaged(file.parent) is None


# ---------------------------------------------------------------- rejected rows


BAD = "a,sometime,1"


def test_examples_of_rejected_rows_are_for_their_owner_only_and_outside_the_store(folder, home):
    add(folder, BAD)
    manifest = ingest(spec_in(folder)).manifest
    assert manifest.rejected == {"unparsable time": 1}
    assert manifest.quarantine is not None
    file = Path(manifest.quarantine)
    assert file.parent == home / "quarantine"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert pl.read_csv(file).rows() == [("unparsable time", "a", "sometime", 1)]
    assert not any(b"sometime" in stored.read_bytes() for stored in (home / "datasets").rglob("*.*"))


def test_without_rejected_rows_there_is_no_quarantine(folder, home):
    assert ingest(spec_in(folder)).manifest.quarantine is None
    assert not (home / "quarantine").exists()


def test_too_many_rejected_rows_stop_before_anything_is_stored_and_say_where_examples_are(folder, home):
    add(folder, *[BAD] * 9)
    with pytest.raises(TooManyRejected, match=r"9 of 69 rows \(13.0%\)") as error:
        ingest(spec_in(folder, quarantine_examples=4))
    file = Path(str(error.value).split("examples are in ")[1])
    assert len(pl.read_csv(file)) == 4
    assert not (home / "datasets").exists()


# ---------------------------------------------------------------- every kind of source


def test_several_value_columns_a_zone_table_and_relative_paths_reach_the_reader(folder):
    (folder / "more").mkdir()
    lines = [f"{day:02}.01.2024,08:00,{day},{-day}" for day in range(13, 31)]
    (folder / "more/x.csv").write_text("\n".join(["day,clock,a,b", *lines]))
    (folder / "zones.csv").write_text("id,lat\na,1.5\nb,2.5\n")
    spec = spec_in(
        folder,
        kind="wide",
        files={"up": "more/*.csv", "down": "more/x.csv"},
        columns={"time": ["day", "clock"], "values": ["b", "a"]},
        zones={"file": "zones.csv", "id": "id", "latitude": "lat"},
        unobserved=[{"variable": "down", "start": "2024-01-20"}],
        interval="1d",
    )
    dataset = ingest(spec)
    assert dataset.panel.nodes == ("b", "a")
    assert dataset.panel.static["latitude"].to_list() == [2.5, 1.5]
    assert dataset.panel.mask.sum(axis=(0, 1)).tolist() == [36, 14]
    assert set(dataset.manifest.sources) == {"more/x.csv", "zones.csv"}


def test_counts_between_zones_are_read_too(folder):
    rows = [f"2024-01-01 0{hour}:00,a,b,{hour + 1}" for hour in range(4)]
    (folder / "od.csv").write_text("\n".join(["time,source,target,weight", *rows]))
    dataset = ingest(spec_in(folder, kind="od", files="od.csv"))
    assert dataset.flows is not None
    assert dataset.flows["weight"].to_list() == [1, 2, 3, 4]


# ---------------------------------------------------------------- one clear message


def test_a_file_that_is_not_there_is_named_with_its_whole_path(folder):
    with pytest.raises(DataError, match=f"no file matches {folder}/bees.csv"):
        ingest(spec_in(folder, files="bees.csv"))
    with pytest.raises(DataError, match=f"no file matches {folder}/zones.csv"):
        ingest(spec_in(folder, zones={"file": "zones.csv", "id": "id"}))


def test_a_home_that_can_not_be_written_is_a_store_error_and_leaves_nothing(folder, home):
    home.write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="a part of that path is a file, not a folder; set FLOCKCAST_HOME"):
        ingest(spec_in(folder))
    add(folder, BAD)
    with pytest.raises(StoreError, match="quarantine.*is a file, not a folder"):
        ingest(spec_in(folder))


def test_the_description_tells_everything_that_the_manifest_knows(folder):
    add(folder, BAD)
    manifest = ingest(spec_in(folder, origin="the zoo", licence="CC0")).manifest
    lines = dict(line.split(maxsplit=1) for line in describe(manifest).replace("data set", "data-set").splitlines())
    assert lines["data-set"] == f"birds/{manifest.version}"
    assert lines["span"] == "2024-03-01T00:00:00+00:00 to 2024-03-02T05:00:00+00:00, every 1h, UTC"
    assert lines["rows"] == "61 read, 60 used, 1 rejected (1 unparsable time)"
    assert lines["source"] == f"birds.csv (sha256 {manifest.sources['birds.csv'][:12]})"
    assert (lines["origin"], lines["licence"], lines["quarantine"]) == ("the zoo", "CC0", manifest.quarantine)
