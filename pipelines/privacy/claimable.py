"""Which promise a spec can make: what its data can't support is refused, and what they can is named.

Public are the nodes, the clock and the number of steps; who came first, who came last and which zones were visited are
not, so the spec has to say the span and the nodes instead of taking them from the rows.
"""

from pipelines.privacy.spec import ReleasePrivacy
from pipelines.spec import Data, FlowModel, GraphModel, LongData, OdData, Spec, TripData, WideData


def require_claimable(spec: Spec, privacy: ReleasePrivacy) -> None:
    """Raises ValueError with the reason, and with what to do."""
    _require_public(spec.data)
    if isinstance(spec.data, TripData):
        _of_trips(privacy)
    elif isinstance(spec.data, OdData):
        _of_od(privacy)
    else:
        _of_series(spec.data, privacy)
    if isinstance(spec.model, FlowModel):
        raise ValueError(
            f"model {spec.model.name!r} has a likelihood of counts, and released counts may be below zero; choose "
            "another model"
        )
    if counts_of(spec, privacy) != "flows" and spec.task.forecast == "flows":
        raise ValueError("privacy.counts 'nodes' releases no flows, which task.forecast 'flows' needs; set 'flows'")


def counts_of(spec: Spec, privacy: ReleasePrivacy) -> str:
    """What is released: "series", "nodes" or "flows"."""
    if not isinstance(spec.data, TripData | OdData):
        return "series"
    if privacy.counts != "auto":
        return privacy.counts
    reads_flows = isinstance(spec.model, GraphModel) and spec.model.graph in ("flows", "flows-mean")
    return "flows" if reads_flows or spec.task.forecast == "flows" else "nodes"


def _require_public(data: Data) -> None:
    if data.start is None or data.end is None:
        raise ValueError(
            "a private release needs data.start and data.end: by default the first and the last row set the span, and "
            "so would tell when somebody came"
        )
    if isinstance(data, WideData):
        if data.columns.values == "rest":
            raise ValueError("a private release needs its nodes named: set data.columns.values to the list of columns")
    elif data.zones is None:
        raise ValueError(
            "a private release needs a table of the known nodes, [data.zones]: by default the nodes are those that "
            "occur in the rows, and so would tell where somebody was"
        )
    if data.interval == "auto":
        raise ValueError("a private release needs data.interval, such as '1h': 'auto' would take it from the rows")


def _of_trips(privacy: ReleasePrivacy) -> None:
    _refuse_keys(privacy, "trips", ("one_place_per_step", "nested", "sums"))
    if privacy.unit == "trip":
        if privacy.person or privacy.trips_per_unit not in (None, 1) or privacy.trips_per_cell != 1:
            raise ValueError("unit 'trip' protects each trip by itself; leave out person and the bounds")
    elif privacy.person is None:
        raise ValueError(
            f"unit {privacy.unit!r} needs a column that says whose a trip is: set privacy.person; without one, what "
            "can be claimed is unit 'trip'"
        )
    elif privacy.trips_per_unit is None:
        raise ValueError(
            f"unit {privacy.unit!r} needs privacy.trips_per_unit: how many trips of one unit count. Fewer need less "
            "noise, and leave more trips out"
        )


def _of_od(privacy: ReleasePrivacy) -> None:
    _refuse_keys(privacy, "od", ("person", "trips_per_unit", "trips_per_cell", "one_place_per_step", "nested", "sums"))
    if privacy.unit != "trip":
        raise ValueError(
            f"counts of trips don't tell whose they are, so unit {privacy.unit!r} can't be claimed of them; what can "
            "is unit 'trip', or take the trips themselves (data.kind = 'trips') with a column of persons"
        )


def _of_series(data: LongData | WideData, privacy: ReleasePrivacy) -> None:
    _refuse_keys(privacy, data.kind, ("person", "trips_per_unit", "trips_per_cell", "counts"))
    if data.values != "counts":
        raise ValueError("a private release is of counts; set data.values = 'counts' if that is what they are")
    if data.edges is not None:
        raise ValueError("[data.edges] would be read beside the release, and no noise protects it; leave it out")
    if privacy.unit == "trip":
        raise ValueError(
            "unit 'trip' is of trips, and these are counts of who is present; unit 'user_day' can be claimed if "
            "privacy.one_place_per_step holds"
        )
    if not privacy.one_place_per_step:
        raise ValueError(
            f"unit {privacy.unit!r} can't be claimed: nobody can tell from counts how many of them one person is in. "
            "If a person is in one node at a time and counts once a step, say so with one_place_per_step = true; what "
            "needs no such word is training with mechanism = 'dp_sgd' and unit = 'slot'"
        )


def _refuse_keys(privacy: ReleasePrivacy, kind: str, keys: tuple[str, ...]) -> None:
    for key in keys:
        if getattr(privacy, key) != ReleasePrivacy.model_fields[key].default:
            raise ValueError(f"privacy.{key} says nothing of data of kind {kind}; leave it out")
