"""Write docs/spec.md, the reference of the experiment's TOML file, from its schema: python docs/write_spec_page.py

A test compares the page with the schema, so neither can change alone.
"""

import types
import typing
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipelines import spec
from pipelines.graph_task import spec as graph
from pipelines.privacy import spec as privacy

PAGE = Path(__file__).with_name("spec.md")
TABLES: list[tuple[str, str, type[BaseModel]]] = [
    ("", "Top level", spec.Spec),
    ("[data]", '`kind = "trips"`', spec.TripData),
    ("[data]", '`kind = "od"`', spec.OdData),
    ("[data]", '`kind = "long"`', spec.LongData),
    ("[data]", '`kind = "wide"`', spec.WideData),
    ("[data.columns]", "of trips", spec.TripColumns),
    ("[data.columns]", "of od", spec.OdColumns),
    ("[data.columns]", "of long", spec.LongColumns),
    ("[data.columns]", "of wide", spec.WideColumns),
    ("[data.zones]", "", spec.Zones),
    ("[[data.unobserved]]", "", spec.Unobserved),
    ("[data.edges]", "of long and wide", spec.Edges),
    ("[task]", "", spec.Task),
    ("[task.split]", "", spec.Split),
    ("[model]", "`lstm`, `gru`, `bilstm`, `bigru`", spec.RecurrentModel),
    ("[model]", "`regenn`", spec.RegennModel),
    ("[model]", "`evolvegcn`", spec.EvolveGcnModel),
    ("[model]", "`gcn`", spec.GcnModel),
    ("[model]", "`graph-recurrent`", spec.GraphRecurrentModel),
    ("[model]", "`dlinear`", spec.DLinearModel),
    ("[model]", "`stid`", spec.StidModel),
    ("[model]", "`evolvegcn-flows`", spec.FlowModel),
    ("[training]", "", spec.Training),
    ("[evaluation]", "", spec.Evaluation),
    ("[registry]", "", spec.Registry),
    ("[privacy]", '`mechanism = "release"`', privacy.ReleasePrivacy),
    ("[privacy]", '`mechanism = "dp_sgd"`', privacy.TrainingPrivacy),
    ("[privacy.public_scale]", '`mechanism = "dp_sgd"`', privacy.PublicScale),
    ("Top level", 'of a dynamic graph, `data.kind = "edges"`', graph.GraphSpec),
    ("[data]", '`kind = "edges"`', graph.EdgeData),
    ("[data.columns]", "of edges", graph.EdgeColumns),
    ("[data.nodes]", "of a dynamic graph", graph.NodeData),
    ("[data.nodes.columns]", "", graph.NodeColumns),
    ("[task]", '`kind = "links"`', graph.LinkTask),
    ("[task]", '`kind = "edge_labels"`', graph.EdgeLabelTask),
    ("[task]", '`kind = "node_labels"`', graph.NodeLabelTask),
    ("[model]", "`evolvegcn`, of a graph task", graph.EvolvingModel),
    ("[model]", "`gcn`, `gcn_gru`, of a graph task", graph.StaticModel),
    ("[training]", "of a graph task", graph.GraphTraining),
    ("[evaluation]", "of a graph task", graph.GraphEvaluation),
    ("[registry]", "of a graph task", graph.GraphRegistry),
]
HEAD = """\
# The experiment file

One TOML file describes an experiment. `flockcast init` writes a commented one, `flockcast check FILE` reads one with
its data and says what a run would do, `flockcast specs` lists the bundled ones. Paths are relative to the folder;
`bundled:` stands for the data that come with flockcast. A mistake is one line with the key, what is allowed, and the
nearest valid spelling.

This page is written by `docs/write_spec_page.py`.
"""


def page() -> str:
    return HEAD + "".join(section(*table) for table in TABLES)


def section(name: str, case: str, table: type[BaseModel]) -> str:
    called = f"`{name}`" if name.startswith("[") else name
    title = ", ".join(part for part in (called, case) if part)
    rows = [
        f"| `{key}` | {allowed(field.annotation)} | {default(field)} | {field.description or ''} |"
        for key, field in own(table)
    ]
    about = " ".join((table.__doc__ or "").split())
    return "\n".join(
        ["", f"## {title}", "", about, "", "| key | allowed | default | |", "| --- | --- | --- | --- |", *rows, ""]
    )


def own(table: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    hidden = {"folder"}
    return [(key, field) for key, field in table.model_fields.items() if key not in hidden]


def allowed(annotation: object) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is type(None):
        return "nothing"
    if origin is typing.Literal:
        return ", ".join(f"`{part!r}`".replace("'", '"') for part in parts)
    if origin is typing.Annotated:
        return allowed(parts[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(allowed(part) for part in parts if part is not type(None)))
    if origin is tuple:
        return f"list of {len(parts)} numbers"
    if origin is list:
        return f"list of {allowed(parts[0])}"
    if origin is dict:
        return f"table of {allowed(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    names = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true, false",
        "datetime": "date or date-time",
    }
    return names[getattr(annotation, "__name__", str(annotation))]


def default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "must be given"
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else repr(value)}`".replace("'", '"')


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
