"""The page of a run on a dynamic graph, of every kind of task."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import polars as pl
import pytest

from pipelines.errors import StoreError
from pipelines.graph_task.evaluate import yardstick
from pipelines.graph_task.prepare import prepare
from pipelines.graph_task.report import page as pages
from pipelines.graph_task.report import write_report
from pipelines.graph_task.report.page import network_of
from pipelines.graph_task.report.score_figures import training_figure
from pipelines.graph_task.train import new_network
from pipelines.report.network_figures import steps_of

FIVE_MB = 5_000_000


def figures_of(text: str) -> dict[str, dict]:
    found = re.search(r'id="report-data">(.*?)</script>', text, re.S)
    assert found is not None
    return json.loads(found[1])["figures"]


def visible(text: str) -> str:
    """What a reader without scripts sees."""
    body = text[text.index("<body>") : text.index('<script type="application/json"')]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def test_each_chart_has_a_place_and_each_place_a_chart(run) -> None:
    text = run.page
    places = re.findall(r'id="chart-([\w-]+)"', text)
    assert sorted(places) == sorted(figures_of(text))
    assert {"scores", "steps", "network", "growth", "network-drift", "drawn", "training", "weights"} <= set(places)
    assert set(re.findall(r'href="#(\w+)"', text)) <= set(re.findall(r'<section id="(\w+)"', text))


def test_a_name_is_text_and_never_markup(run) -> None:
    text = run.page
    assert "<script>alert" not in text
    assert text.count("</script>") == 3  # data, chart library, page.js
    assert "<b>glad</b>" not in text


def test_the_page_says_that_nothing_is_promised_of_anybody_s_privacy(run) -> None:
    assert "No privacy promise is made of this model." in visible(run.page)


def test_the_page_says_how_the_data_were_read_and_what_became_of_the_version(run) -> None:
    said = visible(run.page)
    read = run.dataset.manifest.rows_read
    assert f"2 of {read:,} rows" in said
    assert len(re.findall(r"rejected: [\w ]+? 1 ", said)) == 2  # a time and a target are missing
    assert "Licence not stated" in said
    assert f"version 2 of {run.spec.name} challenger challenger: 3 % worse than champion 1" in said
    assert run.trained.evaluated.backtest.protocol in said
    assert "version 1)" in said  # the champion's is the forecast


def test_every_model_is_in_the_table_and_in_both_charts(run) -> None:
    models = run.trained.evaluated.backtest.scores["model"].to_list()
    found = figures_of(run.page)
    assert len(models) >= 3
    assert len(found["scores"]["data"][0]["y"]) == len(models)
    assert len(found["steps"]["data"]) == len(models) + 1
    steps = len(run.trained.prepared.ranges.test)
    assert all(len(trace["y"]) == steps for trace in found["steps"]["data"])


def test_the_page_asks_nothing_of_the_network_and_stays_small(run) -> None:
    text = run.page
    ours = text[: text.index('<script type="application/json"')]  # the chart library names addresses it never asks
    assert not re.search(r'(?:src|href)="(?!#|data:)', ours)
    assert len(text.encode()) < FIVE_MB


def test_steps_belong_to_the_range_for_which_they_are_targets(runs) -> None:
    """A model of links is judged on the step after the last one read, one of classes on the step itself."""
    for kind, run in runs.items():
        tested = run.trained.evaluated.backtest.steps["step"]
        first, end = steps_of(network_of(run.trained.prepared).ranges)["test"]
        assert (tested.min(), tested.max() + 1) == (first, end), kind


def test_weights_that_do_not_evolve_are_not_drawn(links) -> None:
    evaluated = links.trained.evaluated
    model = yardstick(links.spec.model, "gcn")
    fitted = replace(evaluated.fitted, network=new_network(links.trained.prepared, model).eval())
    trained = replace(links.trained, evaluated=replace(evaluated, fitted=fitted))
    static = replace(links, spec=links.spec.model_copy(update={"model": model}), trained=trained)
    assert "weights" not in figures_of(static.page)


def test_the_course_of_training_has_a_point_where_it_was_validated_and_marks_the_epoch_chosen(links) -> None:
    history = links.trained.evaluated.fitted.history
    loss, score = training_figure(history, "map").traces
    assert loss["x"] == [1, 2, 3, 4]
    assert score["x"] == [2, 4]  # check_every is 2
    [mark] = training_figure(history, "map").layout["shapes"]
    best = pl.Series(score["y"]).arg_max()
    assert mark["x0"] == history.best_epoch + 1 == score["x"][best]


def test_the_report_is_written_whole_and_put_beside_the_run(
    links, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached = []
    monkeypatch.setattr(pages, "attach_report", lambda registered, path: attached.append((registered, path)))
    parts = (links.spec, links.dataset, links.trained, links.registered, links.found)
    path = write_report(*parts, tmp_path / "new" / "report.html")
    assert path.read_text().rstrip().endswith("</html>")
    assert attached == [(links.registered, path)]
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be written"):
        write_report(*parts, tmp_path / "file" / "report.html")


def test_equal_runs_have_equal_pages(links) -> None:
    again = replace(links, trained=replace(links.trained, prepared=prepare(links.spec, links.dataset)))
    pages_without_time = [re.sub(r"<dd>[^<]*UTC</dd>", "", each.page) for each in (links, again)]
    assert pages_without_time[0] == pages_without_time[1]
