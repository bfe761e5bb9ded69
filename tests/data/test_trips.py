from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.bundled import HERE
from data.errors import DataError, TooManyRejected
from data.trips import REASONS, TripColumns, read_trips
from data.zones import ZoneTable

COLUMNS = TripColumns("start", "end", "source", "target")
NYC = HERE / "nyc_green_trips"
OSLO = HERE / "oslo_bike_trips"
NOON = datetime(2024, 3, 1, 12)


def minutes(count):
    return timedelta(minutes=count)


@pytest.fixture
def read(tmp_path):
    """Read trips (start, end, source, target, ...) as a Parquet file; everything may be rejected."""

    def read(rows, **options):
        frame = pl.DataFrame(rows, schema=["start", "end", "source", "target"], orient="row")
        frame.write_parquet(tmp_path / "trips.parquet")
        return read_trips(
            [tmp_path / "trips.parquet"], COLUMNS, **{"timezone": "UTC", "max_rejected_share": 1} | options
        )

    return read


@pytest.fixture
def zones(tmp_path):
    (tmp_path / "zones.csv").write_text("id,name,lat\n9,Nine,1.5\n10,Ten,2.5\n1,One,3.5\n264,Unknown,\n")
    return ZoneTable(tmp_path / "zones.csv", id="id", label="name", latitude="lat", unknown=("264",))


def cell(panel, time, node, variable):
    step = panel.index.get_loc(time)
    return panel.values[step, panel.nodes.index(node), panel.variables.index(variable)]


def nothing_is_lost(read):
    assert read.flows["weight"].sum() == read.rows_used
    assert read.rows_used + sum(read.rejections.counts.values()) == read.rows_read
    assert tuple(read.rejections.counts) == REASONS


# ---------------------------------------------------------------- the law

dirty_times = st.one_of(
    st.none(),
    st.just("whenever"),
    st.sampled_from([0, 1, 59, 60, 119, 3000]).map(lambda m: str(NOON + minutes(m))),
    st.sampled_from(["2024-03-31 02:30", "2024-10-27 02:30", "2024-10-27T02:10:00+01:00", "1999-01-01"]),
)
dirty_zones = st.sampled_from([None, "", "1", "9", " 9", "10", "264", "77"])
dirty_trips = st.lists(
    st.tuples(dirty_times, dirty_times, dirty_zones, dirty_zones, st.sampled_from("ab")), min_size=1, max_size=30
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(dirty_trips, st.sampled_from(["first", "second", "reject"]), st.booleans(), st.data())
def test_every_row_is_a_flow_or_rejected_once(tmp_path, zones, trips, repeated_hour, with_table, data):
    trips += data.draw(st.lists(st.sampled_from(trips), max_size=10))
    good = (str(NOON), str(NOON), "1", "9", "")
    frame = pl.DataFrame(
        [good, *trips], schema=dict.fromkeys(["start", "end", "source", "target", "note"], pl.String), orient="row"
    )
    file = tmp_path / "trips.csv"
    frame.write_csv(file)
    options = {"repeated_hour": repeated_hour, "zones": zones if with_table else None, "max_trip_hours": 10_000}
    span = {"timezone": "Europe/Paris", "start": datetime(2024, 3, 1)}
    result = read_trips([file], COLUMNS, **span, **options, max_rejected_share=1)
    assert result.rows_read == len(trips) + 1
    nothing_is_lost(result)
    shown = Counter(result.rejections.examples["reason"])
    counts = result.rejections.counts
    assert all(shown[name] == min(count, 20) for name, count in counts.items() if name != "duplicate")
    assert result.panel.values[..., 1].sum() == result.rows_used
    late = result.notes.get("ends after the span", 0)
    assert result.panel.values[..., 0].sum() == result.rows_used - late


# ---------------------------------------------------------------- reasons


@pytest.mark.parametrize(
    ("trip", "reason"),
    [
        ((None, NOON, "1", "9"), "unparsable time"),
        ((NOON, None, None, "9"), "unparsable time"),
        ((NOON, NOON - minutes(1), "1", None), "end before start"),
        ((NOON - timedelta(days=9), NOON, None, "9"), "outside the span"),
        ((NOON + timedelta(days=1), NOON + timedelta(days=9), "1", "9"), "outside the span"),
        ((NOON, NOON + timedelta(days=9), "1", None), "unknown zone"),
        ((NOON, NOON + timedelta(days=9), "1", "77"), "unknown zone"),
        ((NOON, NOON + timedelta(days=9), "264", "9"), "unknown zone"),
        ((NOON, NOON + timedelta(hours=24, seconds=1), "1", "9"), "over-long trip"),
        ((NOON, NOON + minutes(5), "1", "9"), "duplicate"),
    ],
)
def test_a_row_is_rejected_under_the_first_reason_that_fits(read, zones, trip, reason):
    good = (NOON, NOON + minutes(5), "1", "9")
    result = read([good, trip], start=NOON, end=NOON + timedelta(days=1), zones=zones)
    assert {name: count for name, count in result.rejections.counts.items() if count} == {reason: 1}
    assert result.rejections.examples.rows() == [(reason, *trip)]
    assert result.rows_used == 1


def test_trips_that_differ_in_any_column_are_no_duplicates(tmp_path):
    file = tmp_path / "trips.csv"
    file.write_text(
        "start,end,source,target,bike\n"
        "2024-03-01 12:00,2024-03-01 12:05,1,9,red\n"
        "2024-03-01 12:00,2024-03-01 12:05,1,9,blue\n"
        "2024-03-01 12:00,2024-03-01 12:05,1,9,red\n"
        "2024-03-01 12:00,2024-03-01 12:05,1,9,red\n"
    )
    result = read_trips([file], COLUMNS, timezone="UTC", max_rejected_share=1)
    assert result.rejections.counts["duplicate"] == 2
    assert result.flows["weight"].to_list() == [2]


def test_too_many_rejected_rows_stop_the_run_and_show_why(read):
    rows = [(NOON, NOON - minutes(1), "1", "9"), (NOON, NOON + minutes(1), "1", "9")]
    with pytest.raises(
        TooManyRejected, match=r"1 of 2 rows \(50.0%\).*1 end before start.*source=1.*max_rejected_share"
    ) as caught:
        read(rows, max_rejected_share=0.49)
    assert caught.value.rejections.examples.height == 1
    assert read(rows, max_rejected_share=0.5).rows_used == 1


def test_rows_outside_the_span_that_was_asked_for_are_no_fault_of_the_data(read):
    rows = [(NOON + minutes(at), NOON + minutes(at + 1), "1", "9") for at in (0, 1, 2, 90)]
    result = read(rows, start=NOON + minutes(60), max_rejected_share=0)
    assert (result.rows_used, result.rejections.counts["outside the span"]) == (1, 3)


def test_of_a_row_with_hundreds_of_columns_a_few_are_shown(tmp_path):
    file = tmp_path / "trips.csv"
    more = [f"c{i}" for i in range(300)]
    file.write_text(
        f"start,end,source,target,{','.join(more)}\n2024-03-01 12:00,2024-03-01 11:00,1,9,{','.join(['7'] * 300)}\n"
    )
    with pytest.raises(TooManyRejected, match="c3=7 and 296 more columns"):
        read_trips([file], COLUMNS, timezone="UTC")


def test_a_file_of_which_no_row_counts_is_refused_whatever_the_limit(read):
    with pytest.raises(DataError, match=r"all 1 rows were rejected: 1 unknown zone"):
        read([(NOON, NOON, None, "9")])


def test_a_file_without_rows_is_refused(tmp_path):
    (tmp_path / "trips.csv").write_text("start,end,source,target\n")
    with pytest.raises(DataError, match="no rows"):
        read_trips([tmp_path / "trips.csv"], COLUMNS, timezone="UTC")


def test_no_more_examples_are_kept_than_asked(read):
    rows = [(NOON, NOON - minutes(i), "1", "9") for i in range(6)]
    assert read(rows, quarantine_examples=2).rejections.examples["end"].to_list() == [
        NOON - minutes(1),
        NOON - minutes(2),
    ]
    assert read(rows, quarantine_examples=0).rejections.examples.is_empty()


def test_a_stray_year_does_not_make_an_endless_panel(read):
    with pytest.raises(DataError, match=r"more than .* set `start` and `end`"):
        read([(datetime(1, 1, 2), datetime(1, 1, 2), "1", "9"), (NOON, NOON, "1", "9")], interval="1m")


# ---------------------------------------------------------------- meaning


def test_a_trip_leaves_in_the_step_it_starts_and_arrives_in_the_step_it_ends(read):
    result = read([(NOON + minutes(50), NOON + minutes(70), "1", "9")], end=NOON + timedelta(hours=2))
    assert result.flows.rows() == [(NOON.replace(tzinfo=UTC), "1", "9", 1)]
    assert cell(result.panel, "2024-03-01 12:00Z", "1", "outflow") == 1
    assert cell(result.panel, "2024-03-01 13:00Z", "9", "inflow") == 1
    assert result.panel.values.sum() == 2
    assert result.panel.mask.all()


def test_a_trip_that_ends_after_the_span_is_a_flow_without_an_inflow(read):
    result = read([(NOON, NOON + minutes(61), "1", "9")], start=NOON, end=NOON + minutes(60))
    assert result.notes == {"ends after the span": 1}
    assert result.panel.values.sum(axis=(0, 1)).tolist() == [0, 1]


def test_trips_of_no_duration_count_and_are_noted(read):
    result = read([(NOON, NOON, "1", "1")])
    assert (result.rows_used, result.notes) == (1, {"zero duration": 1})


def test_a_trip_as_long_as_allowed_counts(read):
    assert read([(NOON, NOON + timedelta(hours=2), "1", "9")], max_trip_hours=2).rows_used == 1


def test_without_a_table_the_nodes_are_the_zones_that_occur_in_the_order_of_numbers(read):
    result = read([(NOON, NOON, 10, 9), (NOON, NOON, 100, 9)])
    assert result.panel.nodes == ("9", "10", "100")
    assert read([(NOON, NOON, "b", "10")]).panel.nodes == ("10", "b")


def test_with_a_table_the_nodes_are_its_rows_in_its_order(read, zones):
    result = read([(NOON, NOON, 10.0, 9.0)], zones=zones)
    assert result.panel.nodes == ("9", "10", "1")
    assert result.panel.static.to_dict(as_series=False) == {
        "node": ["9", "10", "1"],
        "label": ["Nine", "Ten", "One"],
        "latitude": [1.5, 2.5, 3.5],
    }


def test_a_span_in_local_time_is_the_local_day(read):
    utc = datetime(2024, 3, 1, tzinfo=UTC)
    day = {"start": datetime(2024, 3, 1), "end": datetime(2024, 3, 2), "timezone": "Asia/Tokyo"}
    result = read([(utc + timedelta(hours=h), utc + timedelta(hours=h), "1", "1") for h in (-10, -9, 14, 15)], **day)
    assert result.rejections.counts["outside the span"] == 2
    assert len(result.panel.index) == 24


# ---------------------------------------------------------------- clock changes


def test_the_autumn_change_gives_a_day_of_25_hours_and_keeps_both_passes_apart(read):
    first_pass = datetime(2020, 10, 25, 0, 30, tzinfo=UTC)
    trips = [(t, t + minutes(5), "1", "1") for t in (first_pass, first_pass + minutes(60))]
    span = {"start": datetime(2020, 10, 25), "end": datetime(2020, 10, 26)}
    result = read(trips, timezone="Europe/Paris", **span)
    assert len(result.panel.index) == 25
    assert result.flows["weight"].to_list() == [1, 1]
    assert result.flows["time"].dt.hour().to_list() == [2, 2]


@pytest.mark.parametrize(("choice", "offset"), [("first", 2), ("second", 1)])
def test_a_repeated_local_hour_is_resolved_and_counted(read, choice, offset):
    local = datetime(2020, 10, 25, 2, 10)
    result = read([(local, local + minutes(5), "1", "1")], timezone="Europe/Paris", repeated_hour=choice)
    assert result.notes == {"repeated local hour": 1}
    assert result.flows["time"][0].utcoffset() == timedelta(hours=offset)


def test_a_trip_across_the_repeated_hour_does_not_end_before_it_starts(read):
    local = datetime(2020, 10, 25, 2, 50)
    result = read([(local, local - minutes(40), "1", "1")], timezone="Europe/Paris", max_trip_hours=0.4)
    assert result.rows_used == 1


def test_the_missing_and_the_refused_hour_are_rejected_by_name(read):
    spring, autumn = datetime(2023, 3, 12, 2, 30), datetime(2023, 11, 5, 1, 30)
    rows = [(spring, spring + minutes(60), "1", "1"), (autumn, autumn, "1", "1"), (NOON, NOON, "1", "1")]
    counts = read(rows, timezone="America/New_York", repeated_hour="reject").rejections.counts
    assert {name: count for name, count in counts.items() if count} == {
        "nonexistent local time": 1,
        "ambiguous local time": 1,
    }


# ---------------------------------------------------------------- real trips


@pytest.fixture(scope="module")
def nyc():
    return read_trips(
        [NYC / "trips_2023Q1.parquet"],
        TripColumns("lpep_pickup_datetime", "lpep_dropoff_datetime", "PULocationID", "DOLocationID"),
        timezone="America/New_York",
        start=datetime(2023, 1, 1),
        end=datetime(2023, 4, 1),
        max_trip_hours=6,
        zones=ZoneTable(NYC / "zones.csv", id="LocationID", label="Zone", unknown=("264", "265")),
    )


def test_the_new_york_file_is_accounted_for_to_the_last_row(nyc):
    nothing_is_lost(nyc)
    assert nyc.rows_read == 205_064
    assert nyc.rejections.counts["outside the span"] == 5
    assert nyc.rejections.counts["unknown zone"] == 2_123
    assert nyc.panel.values.shape == (2_159, 263, 2)  # one hour of the quarter does not exist


def test_the_new_york_figures_agree_with_pandas(nyc):
    """The second way: in memory, one condition after the other, on local wall times."""
    trips = pl.read_parquet(NYC / "trips_2023Q1.parquet").to_pandas()
    start = trips["lpep_pickup_datetime"]
    trips = trips[(start >= "2023-01-01") & (start < "2023-04-01")]
    trips = trips[~trips["PULocationID"].isin([264, 265]) & ~trips["DOLocationID"].isin([264, 265])]
    local = [trips[c].dt.tz_localize("America/New_York") for c in ("lpep_pickup_datetime", "lpep_dropoff_datetime")]
    short = trips[local[1] - local[0] <= "6h"]
    assert nyc.rejections.counts["over-long trip"] == len(trips) - len(short)
    unique = short.drop_duplicates()
    assert nyc.rejections.counts["duplicate"] == len(short) - len(unique)
    cells = unique.groupby([unique["lpep_pickup_datetime"].dt.floor("h"), "PULocationID", "DOLocationID"]).size()
    assert len(nyc.flows) == len(cells)
    assert nyc.flows["weight"].max() == cells.max()
    outflow = unique.groupby("PULocationID").size()
    assert nyc.panel.values[:, nyc.panel.nodes.index("74"), 1].sum() == outflow[74]


def test_the_oslo_stations_are_named_by_text_and_the_nights_are_zero():
    result = read_trips(
        [OSLO / "trips.parquet"],
        TripColumns("started_at", "ended_at", "start_station_id", "end_station_id"),
        timezone="Europe/Oslo",
        start=datetime(2023, 12, 1),
        end=datetime(2024, 3, 1),
        max_rejected_share=0.6,
        zones=ZoneTable(
            OSLO / "stations.csv", id="station_id", label="name", latitude="latitude", longitude="longitude"
        ),
    )
    nothing_is_lost(result)
    assert result.rows_read == 83_012
    assert "444" in result.panel.nodes
    assert len(result.panel.nodes) == 274
    night = result.panel.index.hour == 3  # local: the service is closed
    assert result.panel.values[night, :, 1].sum() == 0
    assert result.panel.mask.all()
    assert result.flows["time"][0].tzinfo == ZoneInfo("Europe/Oslo")


def test_text_and_parquet_of_the_same_trips_give_the_same_flows(tmp_path):
    trips = pl.read_parquet(OSLO / "trips.parquet").head(2_000)
    trips.write_parquet(tmp_path / "a.parquet")
    trips.write_csv(tmp_path / "a.csv")
    half = [tmp_path / "first.parquet", tmp_path / "second.parquet"]
    trips.head(900).write_parquet(half[0])
    trips.tail(1_100).write_parquet(half[1])
    columns = TripColumns("started_at", "ended_at", "start_station_id", "end_station_id")

    def flows(*files: Path):
        return read_trips(files, columns, timezone="Europe/Oslo").flows

    assert flows(tmp_path / "a.csv").equals(flows(tmp_path / "a.parquet"))
    assert flows(*half).equals(flows(tmp_path / "a.parquet"))


def test_a_missing_column_is_named(tmp_path):
    (tmp_path / "trips.csv").write_text("begin,end,source,target\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"trips\.csv: no column 'start'.*begin, end, source, target"):
        read_trips([tmp_path / "trips.csv"], COLUMNS, timezone="UTC")
