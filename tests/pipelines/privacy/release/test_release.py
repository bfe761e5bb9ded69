"""A release is drawn once and charged once, period by period, and nothing raw is told beside it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import numpy as np
import pandas as pd
import polars as pl
import pytest

from data import store
from data.dataset import Release
from data.errors import DataError
from pipelines.errors import BudgetRefused, SpecError, StoreError
from pipelines.ingest import describe, ingest, ingest_or_reuse
from pipelines.privacy import renyi
from pipelines.privacy.claim import Protection
from pipelines.privacy.ledger.explain import stories
from pipelines.privacy.release import ingest as release_ingest
from pipelines.privacy.release.quote import quote
from pipelines.settings import datasets
from pipelines.spec import parse_spec


def quietly(line: str) -> None:
    pass


def spent(ledger, data_set: str = "riders") -> dict[str, int]:
    """How many committed draws each period has seen."""
    found: dict[str, int] = {}
    for entry in ledger.standing(data_set=data_set)[0].runs:
        if entry.state == "committed":
            for block in entry.blocks:
                found[block] = found.get(block, 0) + 1
    return found


DAYS = [f"2024-03-{day:02}" for day in range(4, 18)]


def test_a_second_ingest_finds_the_release_and_spends_nothing(make, grant):
    ledger = grant()
    first, reused = ingest_or_reuse(make(), say=quietly)
    again, reused_again = ingest_or_reuse(make(), say=quietly)
    assert (reused, reused_again) == (False, True)
    np.testing.assert_array_equal(again.panel.values, first.panel.values)
    assert again.manifest == first.manifest
    assert spent(ledger) == dict.fromkeys(DAYS, 1)
    assert ledger.verify().flaw is None


def test_the_release_stays_when_the_files_change(make, grant, folder):
    ledger = grant()
    first = ingest(make(), say=quietly)
    rows = pl.read_csv(folder / "trips1.csv")
    rows.filter(pl.col("rider") != 1).write_csv(folder / "trips1.csv")
    np.testing.assert_array_equal(ingest(make(), say=quietly).panel.values, first.panel.values)
    assert spent(ledger) == dict.fromkeys(DAYS, 1)


def test_asking_for_fresh_noise_is_refused(make, grant):
    ledger = grant()
    ingest(make(), say=quietly)
    with pytest.raises(SpecError, match="drawn once"):
        ingest(make(), fresh=True, say=quietly)
    assert spent(ledger) == dict.fromkeys(DAYS, 1)


def test_a_release_that_was_lost_is_drawn_again_only_at_its_full_price(make, grant):
    """The averaging attack: two draws of the same counts are two spends, whoever lost the first."""
    ledger = grant()
    first = ingest(make(), say=quietly)
    folder = datasets() / "riders" / first.manifest.version
    folder.rename(datasets() / "elsewhere")
    with pytest.raises(BudgetRefused) as refused:
        ingest(make(), say=quietly)
    assert refused.value.reason == "over_cap"
    assert spent(ledger) == dict.fromkeys(DAYS, 1)


def test_with_a_larger_budget_a_second_draw_is_another_charge(make, grant):
    ledger = grant(epsilon=4.02)
    first = ingest(make(), say=quietly)
    (datasets() / "riders" / first.manifest.version).rename(datasets() / "elsewhere")
    second = ingest(make(), say=quietly)
    assert not np.array_equal(second.panel.values, first.panel.values)
    assert spent(ledger) == dict.fromkeys(DAYS, 2)


def test_a_damaged_release_is_not_drawn_again(make, grant):
    ledger = grant(epsilon=4.02)
    first = ingest(make(), say=quietly)
    (datasets() / "riders" / first.manifest.version / "panel.parquet").write_bytes(b"")
    with pytest.raises(StoreError, match="drawn and paid for"):
        ingest(make(), say=quietly)
    assert spent(ledger) == dict.fromkeys(DAYS, 1)


def test_appended_days_alone_are_drawn_and_charged(make, grant, more_trips):
    ledger = grant()
    first = ingest(make(), say=quietly)
    more_trips(14, 2)
    longer = ingest(make(data={"end": "2024-03-20"}), say=quietly)
    np.testing.assert_array_equal(longer.panel.values[: len(first.panel.values)], first.panel.values)
    assert longer.panel.values.shape == (16 * 24, 4, 2)
    assert (longer.panel.values[-48:] != 0).mean() > 0.8
    assert spent(ledger) == dict.fromkeys([*DAYS, "2024-03-18", "2024-03-19"], 1)
    assert len(longer.manifest.release.runs) == 2


def test_a_shorter_span_is_made_of_what_was_drawn(make, grant):
    ledger = grant()
    whole = ingest(make(), say=quietly)
    part, reused = ingest_or_reuse(make(data={"start": "2024-03-06", "end": "2024-03-16"}), say=quietly)
    assert reused
    np.testing.assert_array_equal(part.panel.values, whole.panel.values[48:-48])
    assert spent(ledger) == dict.fromkeys(DAYS, 1)


def test_a_span_between_two_releases_brings_both_their_draws_along(make, grant):
    ledger = grant()
    early = ingest(make(data={"end": "2024-03-06"}), say=quietly)
    late = ingest(make(data={"start": "2024-03-16"}), say=quietly)
    whole = ingest(make(), say=quietly)
    np.testing.assert_array_equal(whole.panel.values[:48], early.panel.values)
    np.testing.assert_array_equal(whole.panel.values[-48:], late.panel.values)
    assert spent(ledger) == dict.fromkeys(DAYS, 1)
    first, second, third = whole.manifest.release.runs
    assert [first, second] == [*early.manifest.release.runs, *late.manifest.release.runs]
    assert Protection.from_json(whole.manifest.release.protection).run_id == third


def test_a_release_of_two_that_were_drawn_apart_has_the_larger_noise_and_the_runs_of_both(tmp_path, grant):
    """On the day of 25 hours a person is in more steps, so that its noise is larger than that of the days after."""
    clock = pd.date_range("2023-10-29", "2023-10-31", freq="h", tz="Europe/Paris", inclusive="left")
    (tmp_path / "there.csv").write_text("\n".join(["time,a", *(f"{time.isoformat()},5" for time in clock), ""]))

    def released(start: str, end: str) -> Release:
        data = {"kind": "wide", "files": "there.csv", "interval": "1h", "timezone": "Europe/Paris", "values": "counts"}
        data |= {"start": start, "end": end, "columns": {"values": ["a"]}}
        privacy = {"mechanism": "release", "unit": "user_day", "epsilon": 1.0, "one_place_per_step": True}
        spec = parse_spec({"name": "there", "data": data, "privacy": privacy}, folder=tmp_path)
        told = ingest(spec, say=quietly).manifest.release
        assert told is not None
        return told

    ledger = grant(data_set="there", epsilon=1.2, order=20)
    longer, usual = released("2023-10-29", "2023-10-30"), released("2023-10-30", "2023-10-31")
    both = released("2023-10-29", "2023-10-31")
    assert longer.variance["y"] / usual.variance["y"] == pytest.approx(25 / 24, rel=1e-4), "of integer noise, nearly"
    assert both.variance == longer.variance
    assert both.runs == [*longer.runs, *usual.runs]
    assert list(both.periods) == ["2023-10-29", "2023-10-30"]
    assert spent(ledger, "there") == {"2023-10-29": 1, "2023-10-30": 1}


def test_files_that_change_while_they_are_read_are_not_drawn_from(make, grant, folder, monkeypatch):
    """The ledger knows files by their hash; of other ones than those it would allow the same rows under a new name."""
    ledger = grant()
    reading = release_ingest.count

    def changing(*of):
        counts = reading(*of)
        with (folder / "trips1.csv").open("a") as rows:
            rows.write("1,a,b,2024-03-05T00:00:00.000000,2024-03-05T00:10:00.000000\n")
        return counts

    with monkeypatch.context() as patch:
        patch.setattr(release_ingest, "count", changing)
        with pytest.raises(DataError, match="changed while they were read"):
            ingest(make(), say=quietly)
    assert spent(ledger) == {}
    ingest(make(), say=quietly)


def test_why_rows_can_not_be_counted_is_told_to_their_owner_alone(tmp_path, grant, home):
    """A server keeps the errors of its runs, and this one quotes when nobody was counted, and where."""
    clock = pd.date_range("2024-03-04", "2024-03-05", freq="h", inclusive="left")
    rows = [f"{time.isoformat()},{'' if time.hour == 5 else 7}" for time in clock]
    (tmp_path / "there.csv").write_text("\n".join(["time,a", *rows, ""]))
    data = {"kind": "wide", "files": "there.csv", "interval": "1h", "timezone": "UTC", "values": "counts"}
    data |= {"start": "2024-03-04", "end": "2024-03-05", "columns": {"values": ["a"]}}
    privacy = {"mechanism": "release", "unit": "user_day", "epsilon": 1.0, "one_place_per_step": True}
    ledger = grant(data_set="there", epsilon=1.2, order=20)
    with pytest.raises(DataError, match="is in .* for their owner alone") as refused:
        ingest(parse_spec({"name": "there", "data": data, "privacy": privacy}, folder=tmp_path), say=quietly)
    (file,) = (home / "quarantine").glob("there-*.txt")
    assert str(file) in str(refused.value)
    assert "1 values are missing, the first at 2024-03-04T05" in file.read_text()
    assert "05:00" not in str(refused.value)
    assert file.stat().st_mode & 0o077 == 0
    assert spent(ledger, "there") == {}


def test_a_column_that_is_not_there_is_told_at_once(make, grant):
    grant()
    with pytest.raises(DataError, match="no column 'whose'"):
        ingest(make(privacy={"person": "whose"}), say=quietly)


def test_no_epsilon_is_quoted_without_its_delta_and_unit(make):
    told = quote(make())
    assert told is not None
    for line in told.splitlines():
        if "epsilon" in line and "flockcast budget grant" not in line:
            assert "delta" in line
            assert "one person's data of one day" in line or "unit user_day" in line


def test_corrected_periods_are_drawn_and_charged_anew_and_the_old_release_stays(make, grant):
    ledger = grant(epsilon=4.02)
    first = ingest(make(), say=quietly)
    second = ingest(make(privacy={"revised": {"2024-03-07": 1}}), say=quietly)
    same = np.array_equal(first.panel.values[:72], second.panel.values[:72])
    later = np.array_equal(first.panel.values[96:], second.panel.values[96:])
    assert same
    assert later
    assert not np.array_equal(first.panel.values[72:96], second.panel.values[72:96])
    assert spent(ledger) == {**dict.fromkeys(DAYS, 1), "2024-03-07": 2}
    np.testing.assert_array_equal(ingest(make(), say=quietly).panel.values, first.panel.values)


def test_the_ledger_tells_the_cost_with_what_the_owner_has_vouched_for(make, grant):
    ledger = grant()
    told = ingest(make(), say=quietly).manifest.release
    (story,) = stories(ledger.entries(), told.runs[0])
    assert story.sentence == Protection.from_json(told.protection).claim.sentence
    assert "a person has one id in column 'rider'" in story.sentence


def test_without_a_budget_the_refusal_says_what_to_type(make, home):
    with pytest.raises(BudgetRefused) as refused:
        ingest(make(), say=quietly)
    assert "flockcast budget grant riders --unit user_day --epsilon 2.01 --delta 1e-06 --order 1024" in str(
        refused.value
    )
    assert not datasets().exists()


def test_the_budget_that_the_refusal_names_admits_the_release(make, grant):
    """For Gaussian noise the usual order does, and epsilon is a little above that of the claim."""
    spec = make(privacy={"noise": "gaussian"})
    with pytest.raises(BudgetRefused) as refused:
        ingest(spec, say=quietly)
    words = str(refused.value).split("flockcast budget grant ")[1].split()
    epsilon = float(words[words.index("--epsilon") + 1])
    assert 2 < epsilon < 2.2
    assert "--order" not in words
    grant(epsilon=epsilon, order=renyi.best_order(epsilon=epsilon, delta=1e-6))
    ingest(spec, say=quietly)


def test_a_mistake_that_shows_while_reading_costs_nothing(make, grant, folder):
    ledger = grant()
    with pytest.raises(DataError, match="no column 'nobody'"):
        ingest(make(privacy={"person": "nobody"}), say=quietly)
    assert spent(ledger) == {}
    ingest(make(), say=quietly)


def test_a_crash_between_commit_and_publication_leaves_the_spend(make, grant, monkeypatch):
    ledger = grant()

    def crash(*of: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "_put_in_place", crash)
        with pytest.raises(KeyboardInterrupt):
            ingest(make(), say=quietly)
    assert spent(ledger) == dict.fromkeys(DAYS, 1)
    assert not list((datasets() / "riders").iterdir())
    with pytest.raises(BudgetRefused):
        ingest(make(), say=quietly)


def test_a_crash_while_drawing_is_spent_too(make, grant, monkeypatch):
    ledger = grant()

    def crash(*of: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.privacy.release.ingest.noisy", crash)
        with pytest.raises(KeyboardInterrupt):
            ingest(make(), say=quietly)
    with pytest.raises(BudgetRefused):
        ingest(make(), say=quietly)
    assert ledger.standing()[0].runs[0].state == "started"


def test_nothing_but_the_noisy_counts_depends_on_a_person(make, grant, folder, home):
    """Two neighbouring worlds, one with a row that is wrong besides: their manifests differ in what is noisy alone."""
    grant(epsilon=4.02)
    spec = make()
    with_all = ingest(spec, say=quietly).manifest
    (datasets() / "riders" / with_all.version).rename(datasets() / "elsewhere")
    rows = pl.read_csv(folder / "trips1.csv").filter(pl.col("rider") != 1)
    rows[-1:].with_columns(pl.lit("nowhere").alias("to")).vstack(rows).write_csv(folder / "trips1.csv")
    without = ingest(spec, say=quietly).manifest
    ignored = {"version", "release"}
    told = [{k: v for k, v in asdict(manifest).items() if k not in ignored} for manifest in (with_all, without)]
    assert told[0] == told[1]
    claims = [Protection.from_json(manifest.release.protection).claim for manifest in (with_all, without)]
    assert claims[0] == claims[1]
    assert with_all.release.variance == without.release.variance
    assert with_all.rows_read == with_all.rows_used == 0
    assert set(with_all.sources.values()) == {""}


def test_cells_that_nobody_was_in_are_noised(make, grant):
    grant()
    released = ingest(make(), say=quietly).panel.values[:, 3]  # zone d
    assert (released != 0).mean() > 0.8
    assert abs(released.mean()) < 5 * 5.64 / np.sqrt(released.size)


def test_a_release_is_described_by_its_claim_and_not_by_its_rows(make, grant):
    grant()
    told = describe(ingest(make(), say=quietly).manifest)
    assert "Protects one person's data of one day: epsilon = 2, delta = 1e-06" in told
    assert "rows" not in told
    assert "sha256" not in told


def test_of_two_runs_at_once_one_draws_and_the_other_finds_it(make, grant):
    ledger = grant(epsilon=4.02)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda spec: ingest(spec, say=quietly), [make(), make()])
    np.testing.assert_array_equal(one.panel.values, other.panel.values)
    assert spent(ledger) == dict.fromkeys(DAYS, 1)


@pytest.mark.parametrize(
    ("privacy", "blocks"),
    [
        ({"unit": "user_week"}, ["2024-W10", "2024-W11"]),
        ({"unit": "user", "span": "two weeks"}, ["two weeks"]),
        ({"unit": "trip", "person": None, "trips_per_unit": None, "trips_per_cell": None}, DAYS),
    ],
)
def test_each_unit_is_charged_by_its_own_periods(make, grant, privacy, blocks):
    ledger = grant(unit=privacy["unit"], **({"span": privacy["span"]} if "span" in privacy else {}))
    found = ingest(make(privacy=privacy), say=quietly)
    assert spent(ledger) == dict.fromkeys(blocks, 1)
    assert list(found.manifest.release.periods) == blocks


def test_a_longer_span_of_a_person_is_another_release_at_its_full_price(make, grant, more_trips):
    ledger = grant(unit="user", span="spring", epsilon=4.02)
    unit = {"unit": "user", "span": "spring"}
    first = ingest(make(privacy=unit), say=quietly)
    more_trips(14, 1)
    longer = ingest(make(privacy=unit, data={"end": "2024-03-19"}), say=quietly)
    assert not np.array_equal(longer.panel.values[: len(first.panel.values)], first.panel.values)
    assert spent(ledger) == {"spring": 2}


def test_noise_that_drowns_the_counts_is_warned_of(make, grant):
    grant()
    said: list[str] = []
    ingest(make(), say=said.append)
    assert any(line.startswith("WARNING: the noise has a standard deviation of 5.64") for line in said)
