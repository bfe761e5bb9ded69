"""The static GCN beside a model that reads a graph: what the model's way with time is worth shows against it."""

from pipelines.spec import FlowModel, GcnModel, GraphModel, Model


def static_gcn(ours: Model) -> GcnModel | FlowModel | None:
    """The static GCN on the graph that `ours` reads, alike in all settings that both have.

    None where `ours` is one or reads no graph. EvolveGCN-O restarts its weights in every window, so it is a static GCN
    on the last step's graph: of flows it is the yardstick, with the same head and likelihood.
    """
    match ours:
        case GcnModel():
            return None
        case GraphModel():
            shared = ours.model_dump(include=set(GraphModel.model_fields) - {"name"})
            return GcnModel(name="gcn", **shared)
        case FlowModel(variant="H"):
            return ours.model_copy(update={"variant": "O"})
        case _:
            return None
