from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.explain import relation_table
from pipelines.report import write_report
from pipelines.report.findings import of_relations
from pipelines.report.relations import (
    relation_figures,
    relation_graph,
    relation_matrix,
    relation_rows,
    settling_figure,
    strongest,
)
from pipelines.report.words import chart_text, signed
from pipelines.results import Explanation

Run = dict[str, Any]
NAMES = ("relations", "relation-graph", "settling")


def written(run: Run, folder: Path) -> str:
    return write_report(**run, path=folder / "report.html").read_text(encoding="utf-8")


def arrows(explanation: Explanation) -> list[dict[str, Any]]:
    """The strongest last."""
    return [trace for trace in relation_graph(explanation).traces if trace["mode"] == "lines+markers"]


# ---------------------------------------------------------------- the section


def test_a_model_with_a_learned_graph_has_the_section_and_a_link_to_it(graph_run: Run, tmp_path: Path) -> None:
    page = written(graph_run, tmp_path)
    assert '<a href="#relations">What moves what</a>' in page
    assert "<h2>What moves what</h2>" in page
    for name in NAMES:
        assert f'id="chart-{name}"' in page
    section = page.split('<section id="relations">')[1].split("</section>")[0]
    assert section.count("How to read:") == len(NAMES) + 1, "one under each chart and one under the table"
    assert section.count("no plain meaning") == len(NAMES) + 1
    assert "not a cause" in section


def test_a_model_without_one_has_neither(city: Run, tmp_path: Path) -> None:
    page = written(city, tmp_path)
    assert "What moves what" not in page
    assert "#relations" not in page
    assert not [name for name in NAMES if f'"{name}"' in page.split("report-data")[1].split("</script>")[0]]


def test_a_variable_whose_name_is_a_script_stays_a_name(graph_run: Run, tmp_path: Path) -> None:
    page = written(graph_run, tmp_path)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(" in page, "in the table"
    drawn = repr(relation_figures(graph_run["explanation"]))
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn


def test_a_network_that_relates_nothing_is_said_to(three: Explanation, city: Run, tmp_path: Path) -> None:
    nothing = replace(three, target=np.zeros_like(three.target))
    page = written({**city, "explanation": nothing}, tmp_path)
    assert "The network relates no variable to another." in page
    assert 'id="chart-relations"' in page
    assert 'id="chart-relation-graph"' not in page
    assert '<table class="relations">' not in page


# ---------------------------------------------------------------- what is drawn and said


@given(st.integers(2, 12), st.integers(1, 30), st.integers(0, 99))
def test_the_strongest_pairs_are_those_that_sorting_all_pairs_finds(size: int, count: int, seed: int) -> None:
    weights = np.random.default_rng(seed).standard_normal((2, 1, size, size))
    explanation = Explanation(tuple("v" * size), weights[0], weights[1], 0)
    through = explanation.through
    every = sorted((abs(through[b, c]) for b in range(size) for c in range(size) if b != c), reverse=True)
    found = strongest(explanation, count)
    assert [abs(pair.weight) for pair in found] == every[:count]
    assert all(pair.weight == through[pair.variable, pair.reads] and pair.variable != pair.reads for pair in found)


def test_report_and_registry_rank_alike_and_the_report_leaves_out_what_has_no_weight(three: Explanation) -> None:
    """What the first variable takes is no number; the last takes nothing of it."""
    through = np.array([[1.0, np.nan, 0.5], [0.1, 1.0, -0.3], [0.0, 0.2, 1.0]])
    explanation = Explanation(three.variables, np.eye(3)[None], through[None], best_epoch=0)
    first, second, last = three.variables
    table = [(row["variable"], row["takes_of"], row["through"]) for row in relation_table(explanation).to_dicts()]
    assert table == [(second, last, -0.3), (last, second, 0.2), (second, first, 0.1), (last, first, 0.0)]
    assert [(three.variables[v], three.variables[c], w) for v, c, w in strongest(explanation, 9)] == table[:3]


def test_the_table_says_who_takes_of_whom_in_which_layer_with_the_sign(sixty: Explanation) -> None:
    rows, best = relation_rows(sixty), sixty.best_epoch
    assert len(rows) == 10
    assert (rows[0].variable, rows[0].takes_of) == (sixty.variables[1], sixty.variables[0])
    written_through = [float(row.through.replace("−", "-")) for row in rows]
    assert written_through == pytest.approx([pair.weight for pair in strongest(sixty, 10)], rel=0.02)
    assert written_through[0] < 0
    assert float(rows[0].target.replace("−", "-")) == pytest.approx(sixty.target[best, 1, 0], rel=0.02)
    assert float(rows[0].source.replace("−", "-")) == pytest.approx(sixty.source[best, 1, 0], abs=0.005)


def test_three_variables_have_no_more_than_six_relations(three: Explanation) -> None:
    assert len(relation_rows(three)) == 6
    assert len(arrows(three)) == 6


def test_the_heat_map_is_centred_at_nothing_and_leaves_the_diagonal_empty(three: Explanation) -> None:
    cells = relation_matrix(three).traces[0]
    assert cells["zmin"] == -cells["zmax"]
    assert [cells["z"][i][i] for i in range(3)] == [None] * 3
    strong = strongest(three, 1)[0]
    assert cells["zmax"] == pytest.approx(abs(strong.weight), rel=1e-4)
    at = {
        text: z
        for texts, row in zip(cells["text"], cells["z"], strict=True)
        for text, z in zip(texts, row, strict=True)
    }
    read, taker = (chart_text(three.variables[v], 40) for v in (strong.reads, strong.variable))
    assert at[f"{read} → {taker}"] == pytest.approx(strong.weight, rel=1e-4)


def test_the_heat_map_keeps_forty_variables_and_a_phone_fifteen(sixty: Explanation) -> None:
    drawn = relation_matrix(sixty)
    assert np.shape(drawn.traces[0]["z"]) == (40, 40)
    assert "the 40 of 60 variables" in drawn.caption
    assert drawn.layout["xaxis"]["range"] == [-0.5, 39.5]
    assert drawn.narrow["yaxis"]["range"] == [14.5, -0.5]
    shown = "".join(drawn.traces[0]["text"][0] + drawn.traces[0]["text"][1])
    for pair in strongest(sixty, 15):
        assert chart_text(sixty.variables[pair.reads], 40) in shown


def test_arrows_are_wide_by_strength_and_coloured_by_sign_and_end_at_the_taker(sixty: Explanation) -> None:
    drawn, pairs = arrows(sixty)[::-1], strongest(sixty, 15)
    assert len(drawn) == 15
    widths = [arrow["line"]["width"] for arrow in drawn]
    assert widths == sorted(widths, reverse=True)
    assert [arrow["line"]["color"] == "--plus" for arrow in drawn] == [pair.weight > 0 for pair in pairs]
    names = {(name["x"], name["y"]): name["text"] for name in relation_graph(sixty).layout["annotations"]}
    for arrow, pair in zip(drawn, pairs, strict=True):
        ends = [names[(arrow["x"][i], arrow["y"][i])] for i in (0, -1)]
        assert ends == [chart_text(sixty.variables[v], 30) for v in (pair.reads, pair.variable)]


def test_each_sign_stands_in_the_legend_once(sixty: Explanation, three: Explanation) -> None:
    for explanation in (sixty, three):
        drawn = relation_graph(explanation).traces
        named = [trace["name"] for trace in drawn if trace.get("showlegend", True)]
        assert sorted(named) == sorted({trace["legendgroup"] for trace in drawn if "legendgroup" in trace})


def test_no_two_names_around_the_circle_share_a_line(make_explanation: Callable[..., Explanation]) -> None:
    for size in (2, 3, 7, 60):
        drawn = relation_graph(make_explanation(tuple(f"v{n}" for n in range(size))))
        low, high = drawn.layout["yaxis"]["range"]
        pixels = drawn.height / (high - low)
        for a, b in combinations(drawn.layout["annotations"], 2):
            assert a["xanchor"] != b["xanchor"] or abs(a["y"] - b["y"]) * pixels > 30


def test_the_course_ends_where_the_table_begins(sixty: Explanation) -> None:
    drawn = settling_figure(sixty)
    assert len(drawn.traces) == 5
    for line, pair in zip(drawn.traces[::-1], strongest(sixty, 5), strict=True):
        assert line["x"] == list(range(1, 25))
        assert line["y"][sixty.best_epoch] == pytest.approx(pair.weight, rel=1e-4)
    assert drawn.layout["shapes"][0]["x0"] == sixty.best_epoch + 1


def test_the_sentence_names_the_strongest_relation(sixty: Explanation) -> None:
    said = of_relations(sixty)
    assert "of all 3,540 pairs: Station 01 at a rather long avenue, inf… takes −2.93 of Station 00" in said
    assert "not a cause" in said


def test_a_column_of_signed_numbers_keeps_its_decimals() -> None:
    assert signed([1.234, -0.5, 0.0, float("nan")]) == ["+1.23", "−0.50", "0.00", "–"]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("deaths", ["deaths"]),
        ("Main street, inflow", ["Main street,", "inflow"]),
        ("<b>unbroken-and-longer-than-that", ["&lt;b&gt;unbroken-", "and-longer-…"]),
        ("", [""]),
    ],
)
def test_a_name_beside_the_circle_folds_into_two_lines_on_a_phone(
    make_explanation: Callable[..., Explanation], name: str, lines: list[str]
) -> None:
    drawn = relation_graph(make_explanation(("other", name)))
    assert "<br>".join(lines) in [label["text"] for label in drawn.narrow["annotations"]]
