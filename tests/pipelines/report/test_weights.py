import numpy as np
import pytest

from pipelines.report.weights import of_weights, weight_figure

NORMS = np.array([[4.0, 3.0, 2.0], [2.0, 2.2, 2.6]])
LAYERS = ("layer 1", "<b>layer</b> 2")


def test_each_layer_is_a_line_from_its_start_with_the_start_as_a_level() -> None:
    drawn = weight_figure(NORMS, LAYERS)
    assert [line["y"] for line in drawn.traces] == NORMS.tolist()
    assert [line["x"] for line in drawn.traces] == [[0, 1, 2]] * 2
    for line, shape in zip(drawn.traces, drawn.layout["shapes"], strict=True):
        assert shape["y0"] == shape["y1"] == line["y"][0]
        assert shape["line"]["color"] == line["line"]["color"]
    assert drawn.traces[1]["name"] == "&lt;b&gt;layer&lt;/b&gt; 2"


def test_a_long_course_is_thinned_and_keeps_both_ends() -> None:
    norms = np.linspace(5, 1, 3001)[None]
    line = weight_figure(norms, ("only",)).traces[0]
    assert len(line["x"]) == 400
    assert (line["x"][0], line["x"][-1], line["y"][0], line["y"][-1]) == (0, 3000, 5.0, 1.0)


def test_the_sentence_compares_the_end_with_the_start() -> None:
    said = of_weights(NORMS, LAYERS).replace("\u00a0", " ")
    assert said == "After 2 steps the weights have, of their size at the start: layer 1 50 %, <b>layer</b> 2 130 %."


@pytest.mark.parametrize("norms", [np.ones(3), np.ones((3, 4)), np.ones((2, 1))])
def test_norms_that_are_not_layers_by_steps_are_refused(norms: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be \[layers, 1 \+ steps\]"):
        weight_figure(norms, LAYERS)
