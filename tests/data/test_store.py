import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from data import store
from data.dataset import DataSet, Manifest
from data.errors import StoreProblem
from data.panel import Panel


def make_panel(steps: int = 30, zone: str = "Europe/Paris") -> Panel:
    """Half hours over the autumn clock change, with holes."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(steps, 3, 2))
    mask = rng.random(values.shape) > 0.2
    return Panel(
        values=np.where(mask, values, np.nan),
        mask=mask,
        index=pd.date_range("2020-10-24 22:00", periods=steps, freq="30min", tz="UTC").tz_convert(zone),
        nodes=("a", "b", "ü"),
        variables=("in", "time"),
        interval="30m",
        static=pl.DataFrame({"node": ["a", "b", "ü"], "latitude": [48.8, None, 48.9]}),
    )


def make_flows() -> pl.DataFrame:
    hours = pl.datetime_range(
        pl.datetime(2020, 10, 24), pl.datetime(2020, 10, 24, 3), "1h", time_zone="UTC", eager=True
    )
    return pl.DataFrame({"time": hours, "source": ["a", "b", "a", "ü"], "target": ["b"] * 4, "weight": [1, 2, 3, 4]})


def make_set(panel: Panel | None = None, flows: pl.DataFrame | None = None, **changes: object) -> DataSet:
    panel = panel or make_panel()
    manifest = Manifest(
        name="birds",
        version=store.content_hash(panel, flows),
        sources={"birds.csv": "00"},
        rows_read=10,
        rows_used=9,
        rejected={"duplicate": 1},
        notes={},
        source_columns={"ds": "String"},
        span=(panel.index[0].isoformat(), panel.index[-1].isoformat()),
        interval=panel.interval,
        timezone=panel.timezone,
        nodes=len(panel.nodes),
        variables=list(panel.variables),
        observed_share=float(panel.mask.mean()),
        origin="",
        licence="",
        recipe="r1",
    )
    return DataSet(panel, flows, replace(manifest, **changes))


def files_under(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize("flows", [None, make_flows()], ids=["no flows", "flows"])
def test_what_is_saved_is_what_loads(tmp_path, flows):
    saved = make_set(flows=flows)
    store.save(saved, tmp_path)
    loaded = store.load(tmp_path, "birds", saved.manifest.version)
    np.testing.assert_array_equal(loaded.panel.values, saved.panel.values)
    np.testing.assert_array_equal(loaded.panel.mask, saved.panel.mask)
    pd.testing.assert_index_equal(loaded.panel.index, saved.panel.index, check_freq=False)
    assert loaded.panel.timezone == "Europe/Paris"
    assert loaded.panel.static.equals(saved.panel.static)
    assert loaded.manifest == saved.manifest
    assert (loaded.flows is None) if flows is None else loaded.flows.equals(flows)
    assert store.content_hash(loaded.panel, loaded.flows) == saved.manifest.version


def test_the_manifest_is_plain_json_with_the_hash_of_every_file(tmp_path):
    folder = store.save(make_set(flows=make_flows()), tmp_path)
    content = json.loads((folder / "manifest.json").read_text())
    assert content["rows_used"] == 9
    assert set(content["files"]) == {"panel.parquet", "nodes.parquet", "flows.parquet"}


# ---------------------------------------------------------------- the version


def test_the_version_of_a_known_panel_never_changes():
    """Were it to, everyone's cached data sets and the versions named in old runs would be lost."""
    panel = Panel(
        values=np.array([[[1.0]], [[np.nan]]]),
        mask=np.array([[[True]], [[False]]]),
        index=pd.date_range("2024-01-01", periods=2, freq="h", tz="UTC"),
        nodes=("a",),
        variables=("y",),
        interval="1h",
        static=pl.DataFrame({"node": ["a"]}),
    )
    assert store.content_hash(panel, None) == "dd766c0d7bf73b4c"


def test_the_version_ignores_what_is_under_the_mask_the_order_of_flows_and_the_unit_of_time():
    panel, flows = make_panel(), make_flows()
    same = replace(panel, values=np.where(panel.mask, panel.values, 7.0), index=panel.index.as_unit("ns"))
    assert store.content_hash(same, flows.reverse()) == store.content_hash(panel, flows)


@pytest.mark.parametrize(
    "other",
    [
        lambda p: replace(p, values=p.values * (1 + 1e-15)),
        lambda p: replace(p, mask=p.mask & (np.arange(30) > 4)[:, None, None]),
        lambda p: replace(p, index=p.index + pd.Timedelta("30min")),
        lambda p: replace(p, index=p.index.tz_convert("Europe/Oslo")),
        lambda p: replace(p, variables=("in", "out")),
        lambda p: replace(p, interval="1800s"),
        lambda p: replace(p, static=p.static.with_columns(latitude=0.0)),
    ],
)
def test_the_version_tells_any_other_panel_apart(other):
    assert store.content_hash(other(make_panel()), None) != store.content_hash(make_panel(), None)


def test_the_version_tells_other_flows_apart():
    versions = {store.content_hash(make_panel(), flows) for flows in (None, make_flows(), make_flows().head(3))}
    assert len(versions) == 3


# ---------------------------------------------------------------- writing


def test_saving_the_same_content_again_only_renews_its_manifest(tmp_path):
    folder = store.save(make_set(), tmp_path)
    before = (folder / "panel.parquet").stat().st_ino
    store.save(make_set(licence="CC0"), tmp_path)
    assert (folder / "panel.parquet").stat().st_ino == before
    assert store.load(tmp_path, "birds", folder.name).manifest.licence == "CC0"
    assert files_under(tmp_path / "birds") == sorted(
        [folder.name] + [f"{folder.name}/{name}" for name in ("manifest.json", "nodes.parquet", "panel.parquet")]
    )


@pytest.mark.parametrize("name", ["panel.parquet", "nodes.parquet", "manifest.json"])
@pytest.mark.parametrize(
    "harm", [lambda f: f.write_bytes(f.read_bytes()[:-9]), lambda f: f.unlink()], ids=["cut", "gone"]
)
def test_a_damaged_file_is_named_and_saving_again_mends_it(tmp_path, name, harm):
    saved = make_set()
    folder = store.save(saved, tmp_path)
    harm(folder / name)
    with pytest.raises(StoreProblem, match=f"{name} is damaged or missing; ingest its source again"):
        store.load(tmp_path, "birds", folder.name)
    store.save(saved, tmp_path)
    assert store.load(tmp_path, "birds", folder.name).manifest == saved.manifest


def test_a_data_set_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(StoreProblem, match="there is no data set birds/12ab"):
        store.load(tmp_path, "birds", "12ab")


def test_it_is_found_by_its_recipe_and_its_sources_together(tmp_path):
    saved = make_set()
    store.save(saved, tmp_path)
    assert store.find(tmp_path, "birds", recipe="r1", sources={"birds.csv": "00"}) == saved.manifest
    assert store.find(tmp_path, "birds", recipe="r2", sources={"birds.csv": "00"}) is None
    assert store.find(tmp_path, "birds", recipe="r1", sources={"birds.csv": "01"}) is None
    assert store.find(tmp_path, "bees", recipe="r1", sources={"birds.csv": "00"}) is None


def test_what_a_killed_process_left_is_swept_away_later_and_a_writer_at_work_is_not_disturbed(tmp_path):
    young, old = tmp_path / "birds/.staging-1-aa", tmp_path / "birds/.staging-2-bb"
    for left in (young, old):
        left.mkdir(parents=True)
        (left / "panel.parquet").write_bytes(b"half")
    os.utime(old, (0, 0))
    store.save(make_set(), tmp_path)
    assert young.exists()
    assert not old.exists()
    assert [m.name for m in store.manifests(tmp_path, "birds")] == ["birds"]


KILLED = """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from data import store
    from test_store import make_set
    write, left = store._write, [{writes}]
    def write_or_die(file, content):
        left[0] -= 1
        if left[0] < 0:
            file.write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(file, content)
    store._write = write_or_die
    store.save(make_set(), Path({root!r}))
"""


@pytest.mark.parametrize("writes", [0, 2])
def test_a_kill_while_writing_leaves_no_half_of_a_data_set(tmp_path, writes):
    program = textwrap.dedent(KILLED).format(tests=str(Path(__file__).parent), root=str(tmp_path), writes=writes)
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert store.manifests(tmp_path, "birds") == []
    folder = store.save(make_set(), tmp_path)
    assert store.damaged(folder) is None


# ---------------------------------------------------------------- places that can't be written


@pytest.fixture
def mounted(tmp_path):
    """A small file system of our own; needs the right to mount."""
    place = tmp_path / "mounted"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"this user may not mount a file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(mounted):
    rng = np.random.default_rng(1)
    panel = make_panel(steps=6000)
    noise = replace(panel, values=rng.normal(size=panel.values.shape), mask=np.ones_like(panel.mask))
    with pytest.raises(StoreProblem, match="the disk is full; free some space"):
        store.save(make_set(noise), mounted)
    assert files_under(mounted) == ["birds"]


def test_a_read_only_file_system_is_one_clear_error(mounted):
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    with pytest.raises(StoreProblem, match="the file system is read-only; set FLOCKCAST_HOME"):
        store.save(make_set(), mounted)


def test_a_file_that_outgrows_the_systems_limit_is_one_clear_error_and_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(StoreProblem, match="beyond the size that this system allows"):
            store.save(make_set(), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert files_under(tmp_path) == ["birds"]


@pytest.mark.skipif(os.geteuid() == 0, reason="a folder's permissions do not stop root")
def test_a_folder_of_someone_else_is_one_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreProblem, match="this user may not write there; set FLOCKCAST_HOME"):
        store.save(make_set(), tmp_path)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("below", ["", "datasets"])
def test_a_file_where_a_folder_should_be_is_one_clear_error(tmp_path, below):
    (tmp_path / "home").write_text("not a folder")
    with pytest.raises(StoreProblem, match="a part of that path is a file, not a folder"):
        store.save(make_set(), tmp_path / "home" / below)
