from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.bundled import HERE
from data.errors import DataError, TooManyRejected
from data.series import read_long, read_wide
from data.store import content_hash
from data.treatment import Stretch
from data.zones import ZoneTable

PARIS = HERE / "mobility_paris/mobility_30min_6regions.csv.gz"
JHU = HERE / "jhu_covid"


def write(folder: Path, text: str, name: str = "series.csv") -> list[Path]:
    file = folder / name
    file.write_text(text)
    return [file]


def hours(count: int, *, id: str = "a", first: str = "2024-03-01 00:00") -> list[str]:
    return [f"{id},{time:%Y-%m-%d %H:%M},{i}" for i, time in enumerate(pd.date_range(first, periods=count, freq="h"))]


def long(folder: Path, rows: list[str], head: str = "unique_id,ds,y") -> list[Path]:
    return write(folder, "\n".join([head, *rows]))


def series(ingested, node: int = 0, variable: int = 0) -> list[float | None]:
    values = ingested.panel.values[:, node, variable]
    return [None if np.isnan(value) else float(value) for value in values]


# ---------------------------------------------------------------- known figures


def read_paris(**settings):
    settings = {"timezone": "Europe/Paris", "kind": "counts"} | settings
    return read_wide({"y": [PARIS]}, time=["Date", "Hour"], ignore=["Total"], **settings)


def test_persistence_on_the_paris_counts_is_that_of_the_paper():
    """Arcolezi et al. 2022: RMSE 1503.6, the mean over six regions, last 336 rows, one step ahead."""
    values = read_paris().panel.values[:, :, 0]
    errors = values[-336:] - values[-337:-1]
    assert np.sqrt((errors**2).mean(axis=0)).mean() == pytest.approx(1503.6, abs=0.05)


def test_the_day_that_the_paris_file_lacks_is_unobserved_and_so_is_the_half_of_a_repeated_hour():
    read = read_paris()
    panel = read.panel
    silent = panel.index[~panel.mask.any(axis=(1, 2))]
    change = [pd.Timestamp(f"2020-10-25 02:{m}+01:00").tz_convert("Europe/Paris") for m in ("00", "30")]
    assert list(silent) == [*pd.date_range("2020-09-17", periods=48, freq="30min", tz="Europe/Paris"), *change]
    assert panel.interval == "30m"
    assert panel.nodes[0] == "Commune Montreuil"
    assert len(panel.nodes) == 6
    assert (read.rows_read, read.rows_used, read.rejections.counts) == (3456, 3456, {})
    assert read.notes == {"repeated local hour": 2}


def test_the_covid_totals_become_daily_counts_of_three_variables():
    read = read_wide(
        {name: [JHU / f"{name}.parquet"] for name in ("confirmed", "deaths", "recovered")},
        time="date",
        difference=True,
        unobserved=[Stretch("recovered", datetime(2021, 8, 5))],
        zones=ZoneTable(JHU / "locations_confirmed.csv", "key", latitude="latitude"),
    )
    panel = read.panel
    source = pl.read_parquet(JHU / "deaths.parquet")["Albania"].to_numpy()
    at = panel.nodes.index("Albania")
    np.testing.assert_array_equal(panel.values[1:, at, 1], np.diff(source))
    assert not panel.mask[0].any()
    known = panel.mask[:, :, 2].any(axis=1)
    assert panel.index[known][[0, -1]].strftime("%Y-%m-%d").to_list() == ["2020-01-23", "2021-08-04"]
    assert panel.static.filter(node="Albania")["latitude"].item() == 41.1533
    assert read.rows_read == read.rows_used == 3 * 1143
    assert not panel.mask[:, :, 2].any(axis=0).all(), "some places never report recoveries, and stay in"


# ---------------------------------------------------------------- shapes and spellings


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_the_order_of_the_rows_does_not_change_the_version(tmp_path, data):
    rows = hours(5, id="b") + hours(7, id="a") + hours(4, id="10", first="2024-03-01 02:00")
    shuffled = data.draw(st.permutations(rows))
    versions = {content_hash(read_long(long(tmp_path, some)).panel, None) for some in (rows, shuffled)}
    assert len(versions) == 1


def test_long_and_wide_files_of_the_same_series_give_the_same_panel(tmp_path):
    wide = write(tmp_path, "time,a,b\n2024-01-01,1,2\n2024-01-02,,4\n2024-01-03,5,6\n", "wide.csv")
    rows = ["b,2024-01-01,2", "b,2024-01-02,4", "b,2024-01-03,6", "a,2024-01-01,1", "a,2024-01-03,5"]
    same = read_wide({"y": wide}).panel, read_long(long(tmp_path, rows)).panel
    assert content_hash(same[0], None) == content_hash(same[1], None)


@pytest.mark.parametrize(
    "times",
    [
        ["2024-01-01", "2024-01-02", "2024-01-03"],
        ["2024/01/01 00:00", "2024/01/02 00:00", "2024/01/03 00:00"],
        ["2023-12-31T23:00:00Z", "2024-01-01T23:00:00Z", "2024-01-02T23:00:00Z"],
        [date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)],
        [datetime(2024, 1, 1), datetime(2024, 1, 2), datetime(2024, 1, 3)],
    ],
    ids=["dates as text", "slashes", "with offset", "dates", "datetimes"],
)
@pytest.mark.parametrize("ids", [[7, 7, 7], ["7", "7", "7"], [7.0, 7.0, 7.0]], ids=["int", "text", "float"])
def test_ids_and_times_are_read_as_they_are_written(tmp_path, times, ids):
    file = tmp_path / "series.parquet"
    pl.DataFrame({"unique_id": ids, "ds": times, "y": [1, 2, 3]}).write_parquet(file)
    read = read_long([file], timezone="Europe/Paris")
    assert read.panel.nodes == ("7",)
    assert read.panel.index[0].isoformat() == "2024-01-01T00:00:00+01:00"
    assert (read.panel.interval, series(read)) == ("1d", [1, 2, 3])


def test_numbers_as_ids_are_in_the_order_of_numbers(tmp_path):
    rows = [row for id in ("10", "9", "2") for row in hours(3, id=id)]
    assert read_long(long(tmp_path, rows)).panel.nodes == ("2", "9", "10")


def test_several_value_columns_are_several_variables(tmp_path):
    rows = ["a,2024-01-01,1,9", "a,2024-01-02,,8"]
    read = read_long(long(tmp_path, rows, "unique_id,ds,inflow,outflow"), values=["outflow", "inflow"])
    assert read.panel.variables == ("outflow", "inflow")
    assert (series(read, variable=0), series(read, variable=1)) == ([9, 8], [1, None])


def test_a_node_that_one_variable_lacks_is_unobserved_there(tmp_path):
    cases = write(tmp_path, "time,a,b\n2024-01-01,1,2\n2024-01-02,3,4\n", "cases.csv")
    deaths = write(tmp_path, "time,b,c\n2024-01-02,5,6\n2024-01-03,7,8\n", "deaths.csv")
    read = read_wide({"cases": cases, "deaths": deaths})
    assert read.panel.nodes == ("a", "b", "c")
    assert read.panel.mask.sum(axis=0).tolist() == [[2, 0], [2, 2], [0, 2]]
    assert series(read, node=1, variable=1) == [None, 5, 7]
    assert read.rows_read == 4


def test_the_row_numbers_that_pandas_writes_are_no_node(tmp_path):
    assert read_wide({"y": write(tmp_path, ",time,a\n0,2024-01-01,1\n1,2024-01-02,2\n")}).panel.nodes == ("a",)


@pytest.mark.parametrize(
    ("days", "interval"),
    [(["2024-01-31", "2024-02-29", "2024-04-30"], "1mo"), (["2023-12-31", "2024-01-07", "2024-01-21"], "1w")],
)
def test_months_and_weeks_named_by_their_last_day_are_on_the_clock(tmp_path, days, interval):
    read = read_long(long(tmp_path, [f"a,{day},1" for day in days]), interval=interval)
    assert series(read) == [1, 1, None, 1]
    assert read.notes == {"moved to the start of its step": 3}


def test_the_zone_table_tells_what_it_knows_and_keeps_the_nodes_of_the_file(tmp_path):
    table = write(tmp_path, "id,name\nz,Zoo\na,Aquarium\n", "zones.csv")[0]
    read = read_long(long(tmp_path, hours(2, id="a") + hours(2, id="b")), zones=ZoneTable(table, "id", label="name"))
    assert read.panel.static.to_dict(as_series=False) == {"node": ["a", "b"], "label": ["Aquarium", None]}


# ---------------------------------------------------------------- what is missing


@pytest.mark.parametrize("nothing", ["", "NA", "NaN", "null", "n/a", " "])
def test_what_files_write_for_a_missing_value_is_unobserved(tmp_path, nothing):
    read = read_long(long(tmp_path, ["a,2024-01-01,1", f"a,2024-01-02,{nothing}", "a,2024-01-03,3"]))
    assert series(read) == [1, None, 3]
    assert read.rows_used == 3


def test_an_increment_needs_both_of_its_ends(tmp_path):
    rows = ["a,2024-01-01,1", "a,2024-01-02,3", "a,2024-01-03,", "a,2024-01-04,10", "a,2024-01-05,15"]
    read = read_long(long(tmp_path, rows), difference=True)
    assert series(read) == [None, 2, None, None, 5]


def test_an_unobserved_stretch_is_hidden_before_the_differences_are_taken(tmp_path):
    rows = [f"a,2024-01-0{day},{day * day}" for day in range(1, 7)]
    hidden = Stretch("y", datetime(2024, 1, 3), datetime(2024, 1, 4))
    read = read_long(long(tmp_path, rows), difference=True, unobserved=[hidden])
    assert series(read) == [None, 3, None, None, 9, 11]


def test_a_stretch_of_an_unknown_variable_is_an_error(tmp_path):
    with pytest.raises(DataError, match="names the variable 'z', but the variables are: y"):
        read_long(long(tmp_path, hours(3)), unobserved=[Stretch("z")])


# ---------------------------------------------------------------- the clock change


LOCAL = ["00:00", "01:00", "02:00", "02:00", "03:00"]


def change(times: list[str]) -> list[str]:
    return [f"a,2020-10-25 {time},{i}" for i, time in enumerate(times)]


def test_a_local_hour_that_is_there_twice_is_both_passes_in_their_order(tmp_path):
    read = read_long(long(tmp_path, change(LOCAL)), timezone="Europe/Paris")
    assert series(read) == [0, 1, 2, 3, 4]
    assert read.panel.index.strftime("%H%z").to_list() == ["00+0200", "01+0200", "02+0200", "02+0100", "03+0100"]


@pytest.mark.parametrize(
    ("choice", "values", "rejected"),
    [
        ("first", [0, 1, 2, None, 3], {}),
        ("second", [0, 1, None, 2, 3], {}),
        ("reject", [0, 1, None, None, 3], {"ambiguous local time": 1}),
    ],
)
def test_a_repeated_hour_that_is_there_once_is_the_pass_that_the_spec_says(tmp_path, choice, values, rejected):
    rows = change([LOCAL[i] for i in (0, 1, 2, 4)])
    read = read_long(long(tmp_path, rows), timezone="Europe/Paris", repeated_hour=choice, max_rejected_share=0.5)
    assert series(read) == values
    assert read.rejections.counts == rejected


def test_one_series_may_have_the_hour_twice_and_another_once(tmp_path):
    rows = change(LOCAL) + [row.replace("a,", "b,") for row in change(LOCAL[:3] + LOCAL[4:])]
    read = read_long(long(tmp_path, rows), timezone="Europe/Paris", repeated_hour="second")
    assert (series(read, 0), series(read, 1)) == ([0, 1, 2, 3, 4], [0, 1, None, 2, 3])


def test_the_hour_that_spring_skips_is_rejected_by_name(tmp_path):
    rows = [f"a,2020-03-29 0{hour}:00,{hour}" for hour in range(5)]
    read = read_long(long(tmp_path, rows), timezone="Europe/Paris", max_rejected_share=0.5)
    assert series(read) == [0, 1, 3, 4]
    assert read.rejections.counts == {"nonexistent local time": 1}


def test_steps_of_three_hours_on_the_wall_survive_a_clock_change(tmp_path):
    """They are 3 h apart by the wall, so in absolute time they shift against the clock of the winter."""
    walls = pd.date_range("2020-10-20", "2020-10-31", freq="3h")
    rows = [f"a,{wall:%Y-%m-%d %H:%M},{i}" for i, wall in enumerate(walls)]
    read = read_long(long(tmp_path, rows), timezone="Europe/Paris")
    assert read.panel.interval == "3h"
    assert read.rows_used == len(rows)


# ---------------------------------------------------------------- rows that do not count


BAD_ROWS = {
    "unparsable time": "a,soon,1",
    "no series id": ",2024-03-01 09:00,1",
    "not a number": "a,2024-03-02 09:00,many",
    "outside the span": "a,2023-12-31 00:00,1",
    "off the clock": "a,2024-03-01 09:17,1",
    "duplicate": "a,2024-03-01 01:00,1",
}


@pytest.mark.parametrize("reason", BAD_ROWS)
def test_a_row_that_does_not_count_is_counted_under_its_reason_and_kept_as_an_example(tmp_path, reason):
    rows = hours(30)
    read = read_long(long(tmp_path, [*rows[:20], BAD_ROWS[reason], *rows[20:]]), start=datetime(2024, 1, 1))
    assert read.rejections.counts == {reason: 1}
    assert read.rows_read == read.rows_used + 1 == 31
    cells = read.rejections.examples.row(0)
    assert cells == (reason, *(cell or None for cell in BAD_ROWS[reason].split(",")))
    assert series(read) == list(range(30))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(bad=st.lists(st.sampled_from(sorted(BAD_ROWS)), max_size=12))
def test_every_row_is_either_used_or_rejected_under_one_reason(tmp_path, bad):
    rows = hours(60) + [BAD_ROWS[reason] for reason in bad]
    read = read_long(long(tmp_path, rows), start=datetime(2024, 1, 1), max_rejected_share=1, quarantine_examples=2)
    expected = {reason: bad.count(reason) for reason in bad}
    assert read.rejections.counts == expected
    assert read.rows_read == read.rows_used + len(bad) == len(rows)
    shown = read.rejections.examples["reason"].value_counts()
    assert dict(shown.iter_rows()) == {reason: min(count, 2) for reason, count in expected.items()}


def test_an_infinite_value_is_no_number(tmp_path):
    file = tmp_path / "series.parquet"
    time = pl.Series(pd.date_range("2024-01-01", periods=30, freq="D"))
    pl.DataFrame({"unique_id": ["a"] * 30, "ds": time, "y": [*[1.0] * 29, np.inf]}).write_parquet(file)
    assert read_long([file]).rejections.counts == {"not a number": 1}


def test_too_many_rejected_rows_stop_the_run_and_are_handed_over(tmp_path):
    rows = hours(10) + [BAD_ROWS["unparsable time"]]
    with pytest.raises(TooManyRejected, match=r"1 of 11 rows \(9.1%\) were rejected: 1 unparsable time") as error:
        read_long(long(tmp_path, rows))
    assert len(error.value.rejections.examples) == 1


def test_rows_of_a_wide_file_are_counted_once_for_all_their_columns(tmp_path):
    lines = [f"2024-01-{day:02},{day},{day}" for day in range(1, 31)]
    read = read_wide(
        {"y": write(tmp_path, "\n".join(["time,a,b", *lines, "2024-01-04,4,4", "never,1,1"]))}, max_rejected_share=0.1
    )
    assert (read.rows_read, read.rows_used) == (32, 30)
    assert read.rejections.counts == {"unparsable time": 1, "duplicate": 1}


# ---------------------------------------------------------------- bad input, one clear message


def test_two_rows_for_the_same_time_that_disagree_are_an_error(tmp_path):
    rows = hours(5) + ["a,2024-03-01 02:00,99"]
    with pytest.raises(DataError) as error:
        read_long(long(tmp_path, rows))
    assert str(error.value).endswith(
        "series.csv: duplicate timestamp 2024-03-01 02:00:00+00:00 of series 'a': "
        "column 'y' has 2 and 99 (rows 3 and 6); keep one of them"
    )


def test_in_a_wide_file_the_column_that_disagrees_is_named(tmp_path):
    file = write(tmp_path, "time,a,b\n2024-01-01,1,2\n2024-01-02,3,4\n2024-01-02,3,\n")
    with pytest.raises(DataError, match=r"2024-01-02 00:00:00\+00:00: column 'b' has 4 and nothing \(rows 2 and 3\)"):
        read_wide({"y": file})


def test_negative_counts_are_an_error_that_says_how_to_allow_them(tmp_path):
    rows = [*hours(5), "b,2024-03-01 01:00,-4", "b,2024-03-01 02:00,-5"]
    with pytest.raises(DataError) as error:
        read_long(long(tmp_path, rows), kind="counts")
    assert str(error.value) == (
        "variable 'y' has 2 negative values, first at 2024-03-01 01:00:00+00:00, series 'b': -4; "
        'counts are never negative: mend them, or allow them with values = "real"'
    )
    assert read_long(long(tmp_path, rows)).rows_used == 7


def test_a_series_without_any_value_is_an_error(tmp_path):
    file = write(tmp_path, "time,a,b,c\n2024-01-01,1,,NA\n2024-01-02,3,NaN,\n")
    with pytest.raises(DataError, match=r"series 'b' \(and 1 more\) has no value at any of 2 steps"):
        read_wide({"y": file})


def test_a_column_of_words_is_an_error_that_names_it(tmp_path):
    file = write(tmp_path, "time,a,comment\n2024-01-01,1,\n2024-01-02,3,rain\n")
    with pytest.raises(DataError, match="column 'comment' has no numbers, only entries such as 'rain'"):
        read_wide({"y": file})


def test_a_missing_column_is_named_with_the_nearest_that_is_there(tmp_path):
    with pytest.raises(DataError, match=r"no column 'y' .*the columns are: unique_id, ds, why"):
        read_long(long(tmp_path, hours(3), "unique_id,ds,why"))


def test_a_file_with_a_head_only_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        read_long(long(tmp_path, []))


def test_one_stray_year_in_a_file_of_minutes_does_not_fill_the_memory(tmp_path):
    rows = [f"a,2024-01-01 00:{minute:02},1" for minute in range(60)] + ["a,0024-01-01 00:00,1"]
    with pytest.raises(DataError, match=r"the panel would have 1,0\d\d,\d+,\d+ cells .* set data.start or data.end"):
        read_long(long(tmp_path, rows))


def test_variables_in_different_intervals_are_an_error(tmp_path):
    daily = write(tmp_path, "time,a\n2024-01-01,1\n2024-01-02,2\n", "daily.csv")
    hourly = write(tmp_path, "time,a\n2024-01-01 00:00,1\n2024-01-01 01:00,2\n", "hourly.csv")
    with pytest.raises(DataError, match="different intervals"):
        read_wide({"d": daily, "h": hourly})


def test_columns_that_leave_nothing_for_values_are_an_error(tmp_path):
    with pytest.raises(DataError, match="no column is left for values"):
        read_wide({"y": write(tmp_path, "time,a\n2024-01-01,1\n")}, ignore=["a"])


def test_numbers_of_steps_are_refused_with_what_is_read_instead(tmp_path):
    file = tmp_path / "steps.csv"
    file.write_text("unique_id,ds,y\na,1,5\na,2,6\na,3,7\n")
    with pytest.raises(DataError, match=r"ds=1, y=5; times are read as .*numbers of steps \(1, 2, 3\).* are not"):
        read_long([file])


def test_rows_between_the_steps_are_refused_with_what_to_do(tmp_path):
    file = tmp_path / "odd.csv"
    file.write_text("unique_id,ds,y\n" + "\n".join(f"a,2024-01-01 0{h}:{h}7,5" for h in range(6)))
    with pytest.raises(DataError, match="not averaged: bring each series to one row a step first"):
        read_long([file], interval="1h")


def test_a_mapping_without_values_is_refused(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("unique_id,ds,y\na,2024-01-01,5\n")
    with pytest.raises(DataError, match=r"data\.columns\.values names no column"):
        read_long([file], values=[])
