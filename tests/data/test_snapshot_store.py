import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from data import snapshot_store, store
from data.errors import StoreProblem
from data.snapshot_store import SnapshotManifest, SnapshotSet
from data.snapshots import Snapshot, Snapshots

HOURS = pd.date_range("2024-10-27", periods=3, freq="h", tz="Europe/Paris")


def make_snapshots(clock: pd.Index = HOURS, *, plain: bool = False) -> Snapshots:
    """A path, nothing at all, and a node alone; with features and labels, or `plain`."""
    none = torch.zeros(2, 0, dtype=torch.int64)
    steps = [
        Snapshot(torch.tensor([1, 4, 5]), torch.tensor([[0, 1], [1, 2]]), torch.tensor([0.5, 2.0])),
        Snapshot(torch.zeros(0, dtype=torch.int64), none, torch.zeros(0)),
        Snapshot(torch.tensor([2]), none, torch.zeros(0)),
    ]
    if not plain:
        steps = [
            replace(
                graph,
                x=torch.arange(2.0 * len(graph.nodes)).reshape(-1, 2),
                edge_label=torch.arange(graph.edge_index.shape[1]),
                node_label=graph.nodes - 2,
            )
            for graph in steps
        ]
    return Snapshots(tuple(steps), ("a", "b", "c", "ü", "e", "f"), clock, "1h", True)


def named(snapshots: Snapshots) -> Snapshots:
    return replace(snapshots, features=("size", "age"), classes=("bad", "good", "odd", "so so"))


def make_set(snapshots: Snapshots | None = None, **changes: object) -> SnapshotSet:
    snapshots = snapshots or make_snapshots()
    manifest = SnapshotManifest(
        name="links",
        version=snapshot_store.content_hash(snapshots),
        sources={"links.csv": "00"},
        rows_read=3,
        rows_used=2,
        rejected={"self-loop": 1},
        notes={},
        source_columns={"source": "String"},
        span=(str(snapshots.clock[0]), str(snapshots.clock[-1])),
        interval=snapshots.interval,
        timezone=snapshot_store.timezone_of(snapshots),
        steps=len(snapshots),
        nodes=len(snapshots.names),
        edges=int(snapshots.edge_counts().sum()),
        is_directed=snapshots.is_directed,
        origin="",
        licence="",
        recipe="r1",
        features=list(snapshots.features),
        classes=list(snapshots.classes),
    )
    return SnapshotSet(snapshots, replace(manifest, **changes))


PARTS = ("nodes", "edge_index", "edge_weight", "x", "edge_label", "node_label")


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "features and labels"])
@pytest.mark.parametrize("clock", [HOURS, pd.RangeIndex(3)], ids=["hours", "ranks"])
def test_what_is_saved_is_what_loads(tmp_path, clock, plain):
    saved = make_set(make_snapshots(clock, plain=plain))
    folder = snapshot_store.save(saved, tmp_path)
    loaded = snapshot_store.load(tmp_path, "links", folder.name)
    for one, other in zip(saved.snapshots, loaded.snapshots, strict=True):
        for part in PARTS:
            before, after = getattr(one, part), getattr(other, part)
            assert (before is None) == (after is None)
            assert before is None or (before.dtype == after.dtype and torch.equal(before, after)), part
    pd.testing.assert_index_equal(loaded.snapshots.clock, pd.Index(clock), exact="equiv", check_freq=False)
    assert loaded.snapshots.names == saved.snapshots.names
    assert loaded.manifest == saved.manifest
    assert snapshot_store.content_hash(loaded.snapshots) == saved.manifest.version


def test_the_names_of_features_and_classes_stay_with_them(tmp_path):
    saved = make_set(named(make_snapshots()))
    loaded = snapshot_store.load(tmp_path, "links", snapshot_store.save(saved, tmp_path).name).snapshots
    assert (loaded.features, loaded.classes) == (saved.snapshots.features, saved.snapshots.classes)
    assert (loaded[1:].features, loaded.up_to(0).classes) == (loaded.features, loaded.classes)
    assert snapshot_store.content_hash(loaded) == saved.manifest.version


def test_values_that_are_not_known_are_kept_as_such(tmp_path):
    x = torch.tensor([[1.0, torch.nan], [torch.nan, 2.0], [0.0, 0.0]])
    saved = make_set(change(make_snapshots(), x=x))
    loaded = snapshot_store.load(tmp_path, "links", snapshot_store.save(saved, tmp_path).name).snapshots
    torch.testing.assert_close(loaded[0].x, x, equal_nan=True, rtol=0, atol=0)
    assert snapshot_store.content_hash(loaded) == saved.manifest.version


def change(snapshots: Snapshots, **changes: object) -> Snapshots:
    first, *others = snapshots.steps
    return replace(snapshots, steps=(replace(first, **changes), *others))


@pytest.mark.parametrize(
    "other",
    [
        lambda s: change(s, nodes=torch.tensor([0, 4, 5])),
        lambda s: change(s, edge_index=torch.tensor([[0, 1], [2, 2]])),
        lambda s: change(s, edge_weight=torch.tensor([0.5, np.nextafter(np.float32(2), np.float32(3))])),
        lambda s: change(s, x=torch.ones(3, 2)),
        lambda s: change(s, x=None),
        lambda s: change(s, edge_label=torch.tensor([0, 0])),
        lambda s: change(s, node_label=torch.tensor([0, 0, 0])),
        lambda s: replace(s, names=("z", *s.names[1:])),
        lambda s: replace(s, clock=s.clock.tz_convert("UTC")),
        lambda s: replace(s, clock=s.clock + pd.Timedelta("1h")),
        lambda s: replace(s, clock=pd.RangeIndex(3)),
        lambda s: replace(s, interval="3600s"),
        lambda s: replace(s, is_directed=False),
        lambda s: replace(s, features=("size", "age")),
        lambda s: replace(s, classes=("size", "age")),
        lambda s: s[:2],
        lambda s: replace(s, steps=(s.steps[1], s.steps[0], s.steps[2])),
    ],
)
def test_the_version_tells_any_other_snapshots_apart(other):
    assert snapshot_store.content_hash(other(make_snapshots())) != snapshot_store.content_hash(make_snapshots())


def test_the_version_of_known_snapshots_never_changes():
    """Were it to, everyone's cached data sets and the versions named in old runs would be lost."""
    assert snapshot_store.content_hash(make_snapshots()) == "bf62da679fa745f6"


@pytest.mark.parametrize("name", ["edges", "members", "nodes", "clock", "manifest"])
def test_a_damaged_file_is_named_and_saving_again_mends_it(tmp_path, name):
    saved = make_set()
    folder = snapshot_store.save(saved, tmp_path)
    file = next(folder.glob(f"{name}.*"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(StoreProblem, match=f"{file.name} is damaged or missing; ingest its source again"):
        snapshot_store.load(tmp_path, "links", folder.name)
    snapshot_store.save(saved, tmp_path)
    assert snapshot_store.load(tmp_path, "links", folder.name).manifest == saved.manifest


def test_a_manifest_that_lacks_an_entry_counts_as_damaged(tmp_path):
    folder = snapshot_store.save(make_set(), tmp_path)
    content = json.loads((folder / "manifest.json").read_text())
    del content["steps"]
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(StoreProblem, match=r"manifest\.json is damaged or missing"):
        snapshot_store.load(tmp_path, "links", folder.name)


def test_saving_the_same_content_again_only_renews_its_manifest(tmp_path):
    folder = snapshot_store.save(make_set(), tmp_path)
    before = (folder / "edges.parquet").stat().st_ino
    snapshot_store.save(make_set(licence="CC0"), tmp_path)
    assert (folder / "edges.parquet").stat().st_ino == before
    assert snapshot_store.load(tmp_path, "links", folder.name).manifest.licence == "CC0"
    assert [place.name for place in (tmp_path / "links").iterdir()] == [folder.name]


def test_the_manifest_has_the_hash_of_every_file(tmp_path):
    folder = snapshot_store.save(make_set(), tmp_path)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert {file.name for file in folder.iterdir()} == {*files, "manifest.json"}


def test_it_is_found_among_its_own_kind_by_recipe_and_sources(tmp_path):
    saved = make_set()
    snapshot_store.save(saved, tmp_path)
    same = {"recipe": "r1", "sources": {"links.csv": "00"}}
    assert store.find(tmp_path, "links", **same, kind=SnapshotManifest) == saved.manifest
    assert store.find(tmp_path, "links", **same) is None  # no panel
    assert store.find(tmp_path, "links", **same | {"recipe": "r2"}, kind=SnapshotManifest) is None


def test_features_of_some_snapshots_only_are_refused(tmp_path):
    some = change(make_snapshots(), x=None)
    with pytest.raises(ValueError, match="2 of 3 snapshots have x; give it to all of them or to none"):
        snapshot_store.save(make_set(some), tmp_path)
