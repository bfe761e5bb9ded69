import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import StoreError
from pipelines.report import write_report
from pipelines.report.browse import browse
from pipelines.report.comparison import Comparison, compare, error_by_node, table, verdict
from pipelines.report.figures import training_figure
from pipelines.report.findings import of_calibration, of_training, tiles
from pipelines.report.maps import coordinates, flow_figure, link_totals
from pipelines.report.shell import payload
from pipelines.report.words import aligned, chart_text, lead, lead_times, node_labels, number, percent, without_password

Run = dict[str, Any]


class Page(HTMLParser):
    """What a browser would see: the elements, and the text of all but scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data

    @property
    def charts(self) -> set[str]:
        return {str(found["id"])[6:] for tag, found in self.elements if str(found.get("id", "")).startswith("chart-")}


def read(run: Run, folder: Path) -> Page:
    return Page(write_report(**run, path=folder / "report.html").read_text(encoding="utf-8"))


def embedded(page: Page) -> Any:
    return json.loads(page.scripts[0])


# ---------------------------------------------------------------- the page


def test_the_page_says_who_won_what_was_used_and_how_it_was_measured(city: Run, tmp_path: Path) -> None:
    page = read(city, tmp_path)
    assert verdict(compare(city["backtest"])) in page.text
    assert city["backtest"].protocol in page.text
    assert city["registered"].reason in page.text
    assert city["dataset"].manifest.version in page.text
    assert city["spec"].digest() in page.text
    for said in ("outside the span", "1,502", "end before start", "411"):
        assert said in page.text
    assert "ab" * 32 in page.text, "the hash of the source"


def test_each_chart_has_a_place_and_each_place_a_chart(
    city: Run, hostile: Run, long_names: Run, tmp_path: Path
) -> None:
    always = {"forecast", "calibration", "rejected", "observed", "training"}
    network = {"network", "network-drift", "network-moments"}
    for run, more in [
        (city, {"horizon", "nodes", "error-map", "flows", *network}),
        (hostile, set()),
        (long_names, {"horizon", "nodes", "flows", *network}),
    ]:
        page = read(run, tmp_path)
        assert page.charts == always | more
        assert set(embedded(page)["figures"]) == page.charts - {"forecast"}


def test_every_chart_is_followed_by_a_sentence_on_how_to_read_it(city: Run, tmp_path: Path) -> None:
    page = read(city, tmp_path)
    captions = sum(tag == "figcaption" for tag, _ in page.elements)
    assert captions == len(page.charts)
    assert page.text.count("How to read:") == captions + 1, "and one under the table"


def test_a_name_that_is_a_script_stays_a_name(hostile: Run, tmp_path: Path) -> None:
    page = read(hostile, tmp_path)
    assert sum(tag == "script" for tag, _ in page.elements) == 3, "the data, Plotly and ours"
    assert "alert('node')" in page.text
    assert "<" not in page.scripts[0]
    assert embedded(page)["browse"]["nodes"] == ["&lt;script&gt;alert('node')&lt;/script&gt;"]


def test_the_page_asks_nothing_of_the_network(city: Run, tmp_path: Path) -> None:
    page = read(city, tmp_path)
    for tag, found in page.elements:
        assert "src" not in found, tag
        assert str(found.get("href", "#")).startswith(("#", "data:")), tag
    assert not re.search(r"@import|url\(", (Path(__file__).parents[3] / "pipelines/report/style.css").read_text())


def test_no_folder_of_the_machine_and_no_password_gets_into_the_page(city: Run, tmp_path: Path) -> None:
    page = read(city, tmp_path)
    shown = page.text + page.scripts[0]
    assert "/somewhere/private" not in shown
    assert "secret" not in shown
    assert "postgresql://db.example.org/mlflow" in shown


def test_a_model_that_is_not_registered_is_called_so(make_run: Callable[..., Run], tmp_path: Path) -> None:
    assert "not registered" in read(make_run(registered=False), tmp_path).text


def test_a_challenger_does_not_claim_the_forecast_of_the_champion(city: Run, tmp_path: Path) -> None:
    assert "made by the champion" not in read(city, tmp_path).text
    challenger = {**city, "registered": replace(city["registered"], version="4", alias="challenger")}
    assert "made by the champion: GRU, version 3" in read(challenger, tmp_path).text


def test_a_page_of_a_large_run_stays_small(make_run: Callable[..., Run], tmp_path: Path) -> None:
    nodes = tuple(f"sensor {n}" for n in range(60))
    variables = tuple(f"variable {f}" for f in range(8))
    run = make_run(nodes=nodes, variables=variables, cutoffs=1000, horizon=3, spread={"gru": 0.8, "naive": 1.0})
    content = embedded(read(run, tmp_path))
    assert len(content["browse"]["nodes"]) == 12
    assert 1_000_000 < len(json.dumps(content)) < 3_000_000


def test_a_report_that_cannot_be_written_leaves_the_old_one_and_says_why(city: Run, tmp_path: Path) -> None:
    taken = tmp_path / "report.html"
    taken.mkdir()
    with pytest.raises(StoreError, match=r"can't be written to .*report\.html"):
        write_report(**city, path=taken)
    assert list(tmp_path.iterdir()) == [taken]


@given(st.text())
def test_embedded_data_never_closes_its_script_and_comes_back_as_it_was(name: str) -> None:
    text = str(payload({"name": name + "</script><!--"}, {}))
    assert "<" not in text
    assert json.loads(text)["browse"]["name"] == name + "</script><!--"


# ---------------------------------------------------------------- what is drawn


def test_a_forecast_is_drawn_at_the_moment_that_it_was_for(make_run: Callable[..., Run]) -> None:
    for stride in (1, 5):
        run = make_run(stride=stride)
        panel, backtest = run["dataset"].panel, run["backtest"]
        shown = browse(run["dataset"], backtest, run["forecast"], compare(backtest), node_labels(panel.static))
        content = shown.content
        first = content["series"][0][1]
        node = backtest.nodes.index("zone-0")
        for (i, h), k in product(enumerate(lead_times(6)), (0, 17, 59)):
            place = content["at"][i][k]
            due = panel.index[panel.index.get_loc(backtest.cutoffs[k]) + h]
            assert place >= 0
            assert content["time"][place] == due.strftime("%Y-%m-%d %H:%M")
            truth = backtest.truth[k, h - 1, node, 1]
            assert first["truth"][place] == (None if np.isnan(truth) else truth)
            ours = backtest.forecasts["gru"][k, h - 1, node, 1]
            assert first["leads"][i]["ours"][k] == pytest.approx(ours, rel=1e-4)
        assert content["next"][0] == run["forecast"].frame["ds"].min().strftime("%Y-%m-%d %H:%M")
        assert content["connected"] is (stride == 1)


def test_the_error_of_a_node_counts_observed_values_only(city: Run) -> None:
    backtest = city["backtest"]
    errors = error_by_node(backtest, "gru")
    for n in range(len(backtest.nodes)):
        seen = backtest.mask[:, :, n]
        slow = [
            abs(f - y)
            for f, y in zip(backtest.forecasts["gru"][:, :, n][seen], backtest.truth[:, :, n][seen], strict=True)
        ]
        assert errors[n] == pytest.approx(np.mean(slow))
    nothing = replace(backtest, mask=np.zeros_like(backtest.mask))
    assert np.isnan(error_by_node(nothing, "gru")).all()


def test_flows_are_a_map_with_coordinates_and_a_matrix_without(city: Run) -> None:
    panel, links = city["dataset"].panel, link_totals(city["dataset"].flows)
    labels = node_labels(panel.static)
    drawn = flow_figure(links, coordinates(panel), labels)
    arcs = [trace for trace in drawn.traces if "lines" in trace["mode"]]
    widest = max(arcs, key=lambda arc: arc["line"]["width"])
    a, b, weight = links.filter(pl.col("source") != pl.col("target")).row(0)
    assert widest["text"] == f"{labels[a]} → {labels[b]}: {number(weight)}"
    matrix = flow_figure(links, {}, labels)
    assert [trace["type"] for trace in matrix.traces] == ["heatmap"]
    assert np.nansum(np.array(matrix.traces[0]["customdata"], dtype=float)) == links["weight"].sum()


def test_nodes_without_coordinates_are_not_on_the_map(city: Run) -> None:
    panel = city["dataset"].panel
    hole = pl.when(pl.col("node") == "zone-3").then(None).otherwise(pl.col("latitude")).alias("latitude")
    assert set(coordinates(replace(panel, static=panel.static.with_columns(hole)))) == set(panel.nodes) - {"zone-3"}


# ---------------------------------------------------------------- what is said


def test_the_headline_says_plainly_when_a_yardstick_is_better() -> None:
    assert "GRU loses to a yardstick" in verdict(Comparison("gru", 2.0, "ridge", 1.8))
    assert "20 % less than the best yardstick, Ridge regression" in verdict(
        Comparison("gru", 2.0, "ridge", 2.5)
    ).replace("\u00a0", " ")
    assert "no better than a yardstick" in verdict(Comparison("gru", 2.0, "ridge", 2.001))
    assert "No yardstick was run" in verdict(Comparison("gru", 2.0, None, float("nan")))
    assert "loses" in verdict(Comparison("gru", 2.0, "naive", 0.0)), "a constant series: the naive forecast is exact"


def test_the_headline_compares_with_the_best_yardstick(long_names: Run) -> None:
    compared = compare(long_names["backtest"])
    assert compared.rival == "ridge"
    assert compared.standing == "loses"
    assert compared.gain == pytest.approx(1 - compared.mae / compared.rival_mae)


def test_the_table_marks_ours_and_the_best_of_each_metric(long_names: Run) -> None:
    backtest = long_names["backtest"]
    rows = table(backtest, compare(backtest))
    assert [row.title for row in rows if row.is_ours] == ["GRU"]
    assert (rows[0].title, rows[0].ratio) == ("Ridge regression", "1.00")
    assert "mae" in rows[0].best
    assert len(rows) == len(backtest.forecasts)


def test_the_table_has_msle_for_counts_alone(city: Run, tmp_path: Path) -> None:
    assert "MSLE" in read(city, tmp_path).text
    backtest = city["backtest"]
    real = replace(backtest, scores=backtest.scores.with_columns(msle=pl.lit(float("nan"))))
    assert "MSLE" not in read({**city, "backtest": real}, tmp_path).text
    counted, measured = (table(each, compare(each))[0].cells for each in (backtest, real))
    assert set(counted) - set(measured) == {"msle"}


def test_a_run_without_yardsticks_still_has_a_page(make_run: Callable[..., Run], tmp_path: Path) -> None:
    page = read(make_run(spread={"gru": 1.0}), tmp_path)
    assert "No yardstick was run" in page.text
    assert embedded(page)["browse"]["rival"] is None


def test_epochs_are_counted_from_one_as_the_progress_bar_counts_them(city: Run) -> None:
    history = replace(city["history"], best_epoch=13)
    assert "those of epoch 14; training ended with epoch 24" in of_training(history)
    drawn = training_figure(history)
    assert drawn.traces[0]["x"][:2] == [1, 2]
    assert drawn.layout["shapes"][0]["x0"] == 14


def test_intervals_that_are_too_narrow_are_called_so(city: Run) -> None:
    backtest = city["backtest"]
    narrow = replace(backtest.intervals["split"], coverage=0.8)
    poor = replace(backtest, intervals={**backtest.intervals, "split": narrow})
    assert "too narrow" in of_calibration(poor)
    tile = tiles(city["dataset"], poor, compare(poor))[2]
    assert (tile.value, tile.mood) == ("80\u00a0%", "bad")


@pytest.mark.parametrize(
    ("steps", "interval", "said"),
    [
        (1, "1h", "1 hour"),
        (24, "1h", "24 hours"),
        (1, "30m", "30 minutes"),
        (2, "30m", "1 hour"),
        (3, "30m", "1.5 hours"),
        (7, "1d", "7 days"),
        (2, "3mo", "6 months"),
        (2, "odd", "2 steps"),
    ],
)
def test_lead_times_are_said_in_words(steps: int, interval: str, said: str) -> None:
    assert lead(steps, interval) == said


def test_numbers_keep_three_digits_and_columns_their_decimals() -> None:
    assert [number(x) for x in (0.01234, 1.925, 63.14, 1503.6, 0.0, float("nan"))] == [
        "0.0123",
        "1.93",
        "63.1",
        "1,504",
        "0",
        "–",
    ]
    assert aligned([0.609, 1.013, 2.4, float("nan")]) == ["0.61", "1.01", "2.40", "–"]
    shares = [percent(share).replace("\u00a0", " ") for share in (0.99999, 1e-6, 1, 0.5)]
    assert shares == ["over 99.9 %", "under 0.1 %", "100 %", "50 %"]


@given(st.integers(1, 400))
def test_first_middle_and_last_lead_time_are_within_the_horizon(horizon: int) -> None:
    leads = lead_times(horizon)
    assert (leads[0], leads[-1]) == (1, horizon)
    assert leads == sorted(set(leads))


def test_two_nodes_with_the_same_label_are_told_apart() -> None:
    static = pl.DataFrame({"node": ["1", "2", "3"], "label": ["Park", "Park", None]})
    assert node_labels(static) == {"1": "Park (1)", "2": "Park (2)", "3": "3"}


@given(st.text())
def test_text_in_charts_has_no_tags(name: str) -> None:
    assert not set("<>") & set(chart_text(name))


def test_passwords_are_cut_from_a_tracking_uri() -> None:
    assert without_password("postgresql://me:pw@host:5432/db") == "postgresql://host:5432/db"
    assert without_password("sqlite:///runs.db") == "sqlite:///runs.db"
