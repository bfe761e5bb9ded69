"""Read the files of a spec as its `[data]` table says."""

from typing import Any

from data.dataset import Ingested
from data.od import OdColumns, read_od
from data.series import read_long, read_wide
from data.series_edges import with_edges
from data.treatment import Stretch
from data.trips import TripColumns, read_trips
from pipelines.sources import Sources
from pipelines.spec import Data, LongData, OdData, Spec, TripData, WideData


def read(spec: Spec, sources: Sources) -> Ingested:
    return _with_edges(read_kind(spec.data, sources), spec.data, sources)


def read_kind(data: Data, sources: Sources) -> Ingested:
    rules = data.model_dump(
        include={"timezone", "interval", "start", "end", "repeated_hour", "max_rejected_share", "quarantine_examples"}
    )
    match data:
        case TripData():
            columns = TripColumns(**data.columns.model_dump())
            return read_trips(sources.all, columns, zones=sources.zones, max_trip_hours=data.max_trip_hours, **rules)
        case OdData():
            return read_od(sources.all, OdColumns(**data.columns.model_dump()), zones=sources.zones, **rules)
        case LongData():
            values = data.columns.values
            return read_long(
                sources.all,
                id=data.columns.id,
                time=data.columns.time,
                values=[values] if isinstance(values, str) else values,
                zones=sources.zones,
                **_of_series(data),
                **rules,
            )
        case WideData():
            return read_wide(
                sources.files, **data.columns.model_dump(), **_of_series(data), zones=sources.zones, **rules
            )


def _with_edges(ingested: Ingested, data: Data, sources: Sources) -> Ingested:
    """The series with what moved between them, where a file tells that."""
    if not isinstance(data, LongData | WideData) or data.edges is None:
        return ingested
    rules = data.model_dump(include={"repeated_hour", "max_rejected_share", "quarantine_examples"})
    return with_edges(ingested, sources.edges, OdColumns(**data.edges.columns.model_dump()), **rules)


def _of_series(data: LongData | WideData) -> dict[str, Any]:
    stretches = [Stretch(**stretch.model_dump()) for stretch in data.unobserved]
    return {"kind": data.values, "difference": data.difference, "unobserved": stretches}
