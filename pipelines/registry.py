"""Versions of a registered model: who is champion, who was before, and how to fetch one.

An alias names the version that serves (`champion`) and the newest that did not get there (`challenger`). A version
that was champion once has the tag `flockcast.champion_since`, which is what a roll-back goes by.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipelines.errors import RegistryError, RegistryUnreachable
from pipelines.privacy.tags import NONE_PROMISED, RAW_COUNTS, SCORED_ON, in_brief
from pipelines.settings import tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
SINCE, UNTIL = "flockcast.champion_since", "flockcast.champion_until"
SCORES = ("mae", "map", "mrr", "minority_f1", "micro_f1")  # each a tag of a version
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # what MLflow says of an unknown model, or alias
LEAKY = "flockcast.leaky"  # a version whose training has seen its test range
OURS = "flockcast.format"  # every model of ours has this tag
GRAPH = "flockcast.graph"  # a model of a dynamic graph, which no HTTP service serves


@dataclass(frozen=True)
class Version:
    """One row of `flockcast models`."""

    name: str
    version: str
    aliases: tuple[str, ...]
    model: str
    score: str  # "MAE 0.95", what it is judged by
    mae: float | None
    dataset_version: str
    created: datetime
    run_id: str
    is_graph: bool = False
    privacy: str = NONE_PROMISED  # whom it protects and how far, in a short phrase
    claim: str | None = None  # the same in a sentence
    scores_are_raw: bool = False  # its scores were computed on raw counts, and no promise covers them


def client(uri: str | None = None) -> "MlflowClient":
    """A client of the tracking store. Raises RegistryUnreachable where it doesn't answer."""
    import mlflow

    chosen = tracking_uri(uri)
    try:
        if chosen.startswith("sqlite:///"):
            Path(chosen.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        found = mlflow.MlflowClient(tracking_uri=chosen, registry_uri=chosen)
        found.search_experiments(max_results=1)
    except Exception as error:  # requests, sqlalchemy and MLflow each raise their own
        raise RegistryUnreachable(f"the MLflow store at {chosen} can't be reached: {error}") from error
    return found


def versions(name: str | None = None, *, uri: str | None = None) -> list[Version]:
    """All versions of one model, or of all of ours, the newest first."""
    store = client(uri)
    names = [name] if name else [model.name for model in store.search_registered_models()]
    found = [version for each in names for version in store.search_model_versions(f"name = '{each}'")]
    ours = [version for version in found if OURS in version.tags]
    aliases = {each: _aliases(store, each) for each in {version.name for version in ours}}
    rows = [_row(version, aliases[version.name].get(int(version.version), ())) for version in ours]
    return sorted(rows, key=lambda row: (row.name, -int(row.version)))


def champion(store: "MlflowClient", name: str) -> "ModelVersion | None":
    """The version that serves; None where the model, or the alias, is unknown.

    A leaky version is none, even if the alias was set on it behind our back.
    """
    from mlflow.exceptions import MlflowException

    try:
        found = store.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise RegistryUnreachable(f"can't ask the MLflow store for the champion of {name}: {error}") from error
    return None if LEAKY in found.tags else found


def require_kind(store: "MlflowClient", name: str, *, is_graph: bool) -> None:
    """Raises RegistryError where a registered model of that name is of the other kind."""
    found = [v for v in store.search_model_versions(f"name = '{name}'") if OURS in v.tags]
    if any((GRAPH in version.tags) != is_graph for version in found):
        other = "series" if is_graph else "graphs"
        raise RegistryError(f"{name} is registered as a model of {other}; give registry.model another name")


def newest_leaky(store: "MlflowClient", name: str) -> "ModelVersion":
    """The newest version that has seen its test range. Raises RegistryError where there is none."""
    found = store.search_model_versions(f"name = '{name}' and tags.`{LEAKY}` = '1'")
    if not found:
        raise RegistryError(f"{name} has no leaky version yet; train one with `flockcast train`")
    return max(found, key=lambda version: int(version.version))


def crown(store: "MlflowClient", name: str, version: str) -> None:
    """Make `version` the champion; the one before steps down and remembers that it was.

    Raises RegistryError for a leaky version.
    """
    if LEAKY in store.get_model_version(name, version).tags:
        raise RegistryError(
            f"{name} version {version} has seen its test range in training (leaky), so it can't be champion; "
            "train the spec with model.normalisation = 'training'"
        )
    now = datetime.now(UTC).isoformat()
    before = champion(store, name)
    if before is not None and str(before.version) != str(version):  # a number from a database, text from a server
        store.set_model_version_tag(name, before.version, UNTIL, now)
    store.set_registered_model_alias(name, CHAMPION, version)
    store.set_model_version_tag(name, version, SINCE, now)


def promote(name: str, version: str, *, uri: str | None = None) -> str:
    """Make a version champion by hand. Gives a sentence that says what changed."""
    store = client(uri)
    if version not in {row.version for row in versions(name, uri=uri)}:
        raise RegistryError(f"{name} has no version {version}; `flockcast models` lists them")
    before = champion(store, name)
    crown(store, name, version)
    return f"{name} version {version} is champion now" + (f" in place of version {before.version}" if before else "")


def roll_back(name: str, *, uri: str | None = None) -> str:
    """Give the crown back to the version that wore it last before the present champion."""
    store = client(uri)
    now = champion(store, name)
    if now is None:
        raise RegistryError(f"{name} has no champion; `flockcast models` lists what there is")
    former = [
        v for v in store.search_model_versions(f"name = '{name}'") if UNTIL in v.tags and v.version != now.version
    ]
    if not former:
        raise RegistryError(f"version {now.version} is the first champion of {name}; there is none to go back to")
    last = max(former, key=lambda version: version.tags[UNTIL])
    crown(store, name, last.version)
    # the one that was rolled back is no version to come back to by the next roll-back
    store.delete_model_version_tag(name, now.version, UNTIL)
    return f"{name} is back at version {last.version}; version {now.version} stepped down"


def fetch_forecaster(store: "MlflowClient", version: "ModelVersion") -> Path:
    """The folder of a version's artefact, downloaded where it is remote."""
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = store.get_model_version_download_uri(version.name, version.version)
    try:
        folder = mlflow.artifacts.download_artifacts(f"{uri}/artifacts/forecaster", tracking_uri=store.tracking_uri)
    except (MlflowException, OSError) as error:
        raise RegistryError(f"the files of {version.name} version {version.version} can't be had: {error}") from error
    return Path(folder)


def _aliases(store: "MlflowClient", name: str) -> dict[int, tuple[str, ...]]:
    """Version -> its aliases; a search for versions leaves them empty."""
    found: dict[int, tuple[str, ...]] = {}
    for alias, version in store.get_registered_model(name).aliases.items():
        found[int(version)] = (*found.get(int(version), ()), alias)
    return found


def _row(version: "ModelVersion", aliases: tuple[str, ...]) -> Version:
    tags = version.tags
    return Version(
        name=version.name,
        version=str(version.version),
        aliases=aliases,
        model=tags.get("flockcast.model", "?"),
        score=next(
            (f"{key.upper()} {float(tags[f'flockcast.{key}']):.4g}" for key in SCORES if f"flockcast.{key}" in tags), ""
        ),
        mae=float(tags["flockcast.mae"]) if "flockcast.mae" in tags else None,
        dataset_version=tags.get("flockcast.dataset_version", "?"),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, tz=UTC),
        run_id=version.run_id or "",
        is_graph=GRAPH in tags,
        privacy=in_brief(tags),
        claim=tags.get("privacy.claim"),
        scores_are_raw=tags.get(SCORED_ON) == RAW_COUNTS,
    )
