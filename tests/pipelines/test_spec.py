import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SpecError
from pipelines.intervals import LEVELS
from pipelines.spec import BUNDLED, bundled_names, load_spec, parse_spec
from pipelines.template import spec_template


def nyc(**tables: Any) -> dict[str, Any]:
    raw = tomllib.loads((BUNDLED / "nyc-green.toml").read_text())
    for table, keys in tables.items():
        raw[table] = {**raw.get(table, {}), **keys}
    return raw


def complaint(raw: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        parse_spec(raw, folder=Path(), called="x.toml")
    return str(caught.value)


@pytest.mark.parametrize("name", bundled_names())
def test_every_bundled_spec_is_valid(name: str) -> None:
    assert load_spec(name).name == name


@pytest.mark.parametrize(
    ("tables", "line"),
    [
        ({"task": {"windw": 3}}, "x.toml: task.windw: unknown key (did you mean 'window'?); allowed here: busiest,"),
        ({"model": {"hiden": 3}}, "x.toml: model.hiden: unknown key (did you mean 'hidden'?); allowed here: dropout,"),
        ({"model": {"name": "grru"}}, "x.toml: model.name: 'grru' is not allowed (did you mean 'gru'?); allowed: lstm"),
        ({"data": {"kind": "trip"}}, "x.toml: data.kind: 'trip' is not allowed (did you mean 'trips'?)"),
        ({"data": {"timezone": "Europe/Pariss"}}, "is no IANA time zone (did you mean 'Europe/Paris'?)"),
        ({"data": {"interval": "1 hour"}}, "x.toml: data.interval: '1 hour' is no interval; write a number and a unit"),
        (
            {"task": {"horizon": 0}},
            "x.toml: task.horizon: 0 is no number of steps; allowed: a whole number from 1, or 'auto'",
        ),
        ({"task": {"horizon": "soon"}}, "x.toml: task.horizon: 'soon' is no number of steps"),
        ({"training": {"epochs": "many"}}, "x.toml: training.epochs: 'many': input should be a valid integer"),
        ({"training": {"loss": "mea"}}, "x.toml: training.loss: 'mea' is not allowed (did you mean 'mse'?)"),
        ({"privacy": {"epsilon": 1}}, "x.toml: privacy.mechanism: missing; allowed: release, dp_sgd"),
    ],
)
def test_a_mistake_is_one_line_with_key_and_remedy(tables: dict[str, Any], line: str) -> None:
    told = complaint(nyc(**tables))
    assert line in told
    assert "\n" not in told


def test_every_mistake_is_told_at_once() -> None:
    told = complaint(nyc(task={"windw": 3}, training={"epochs": -1}))
    assert len(told.splitlines()) == 2


def test_a_missing_column_mapping_is_told() -> None:
    raw = nyc()
    del raw["data"]["columns"]["start"]
    assert "data.columns.start: missing" in complaint(raw)


def test_a_missing_kind_is_told_with_the_kinds() -> None:
    raw = nyc()
    del raw["data"]["kind"]
    assert "data.kind: missing; allowed: trips, od, long, wide" in complaint(raw)


def test_a_file_that_is_no_toml_is_told(tmp_path: Path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("name = [")
    with pytest.raises(SpecError, match="not valid TOML"):
        load_spec(file)


def test_a_missing_file_names_the_bundled_specs() -> None:
    with pytest.raises(SpecError, match="paris-counts"):
        load_spec("nowhere.toml")


@pytest.mark.parametrize("kind", ["long", "wide", "trips", "od"])
def test_the_template_is_a_valid_spec(kind: Any) -> None:
    text = spec_template(kind, name="mine", files="data.csv")
    assert parse_spec(tomllib.loads(text), folder=Path()).data.kind == kind


@pytest.mark.parametrize("kind", ["long", "wide", "trips", "od"])
def test_the_defaults_that_the_template_shows_are_the_defaults(kind: Any) -> None:
    """Uncommenting a line `# key = value` that shows a default changes nothing."""
    plain = parse_spec(tomllib.loads(spec_template(kind, name="mine", files="data.csv")), folder=Path())
    examples = ("start", "end", "file", "id", "label", "latitude", "longitude", "target", "busiest", "country")
    uncommented = []
    for line in spec_template(kind, name="mine", files="data.csv").split("# [privacy]")[0].splitlines():
        key = re.match(r"# (\w+) = ", line)
        uncommented.append(line.removeprefix("# ") if key and key[1] not in examples else line)
    assert parse_spec(tomllib.loads("\n".join(uncommented)), folder=Path()) == plain


@pytest.mark.parametrize("kind", ["long", "wide", "trips", "od"])
def test_the_promise_that_the_template_shows_is_one_that_can_be_made(kind: Any) -> None:
    lines = spec_template(kind, name="mine", files="data.csv").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("# [privacy]"))
    uncommented = [line.removeprefix("# ") if n >= start else line for n, line in enumerate(lines)]
    raw = tomllib.loads("\n".join(uncommented))
    public = {"start": date(2024, 1, 1), "end": date(2025, 1, 1), "interval": "1h"}
    counts = {"values": "counts"} if kind in ("long", "wide") else {}
    raw["data"]["columns"] |= {"values": ["north", "south"]} if kind == "wide" else {}
    raw["data"] |= {**public, **counts, "zones": {"file": "zones.csv", "id": "zone"}}
    privacy = parse_spec(raw, folder=Path()).privacy
    assert privacy is not None
    assert privacy.mechanism == "release"


def test_equal_settings_have_equal_digests_and_others_have_not() -> None:
    first, same = (parse_spec(nyc(), folder=Path(place)) for place in ("a", "b"))
    other = parse_spec(nyc(training={"seed": 1}), folder=Path("a"))
    assert first.digest() == same.digest() != other.digest()
    assert first.digest("data", "task") == other.digest("data", "task")


def test_intervals_that_the_calibration_cannot_give_are_refused() -> None:
    """Its outermost quantiles are 0.5 % and 99.5 %; a level of 0.999 gave those without a word."""
    with pytest.raises(SpecError, match=r"evaluation\.interval_level: 0\.999: .*less than or equal to 0\.99"):
        parse_spec(nyc(evaluation={"interval_level": 0.999}), folder=Path())
    widest = parse_spec(nyc(evaluation={"interval_level": 0.99}), folder=Path()).evaluation.interval_level
    assert pytest.approx((LEVELS[0], LEVELS[-1])) == ((1 - widest) / 2, (1 + widest) / 2)
