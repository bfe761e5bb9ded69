from typing import Any

import pytest

from pipelines.spec import DLinearModel, EvolveGcnModel, FlowModel, GcnModel, GraphModel, RecurrentModel, RegennModel
from pipelines.static_gcn import static_gcn

OTHERWISE: dict[str, Any] = {  # no default among them
    "graph": "given",
    "edges": "edges.csv",
    "threshold": 0.7,
    "sigma_km": 3.0,
    "neighbours": 2,
    "edge_delay": 3,
    "lags": 2,
    "hidden": 7,
    "layers": 3,
    "dropout": 0.3,
    "predict": "change",
    "profile": 5,
}


@pytest.mark.parametrize("variant", ["H", "O"])
def test_it_has_every_setting_that_the_model_shares_with_it(variant: Any) -> None:
    assert set(OTHERWISE) == set(GraphModel.model_fields) - {"name"}
    ours = EvolveGcnModel(name="evolvegcn", variant=variant, snapshots=3, **OTHERWISE)
    assert static_gcn(ours) == GcnModel(name="gcn", **OTHERWISE)


def test_of_flows_it_is_the_last_step_s_network_with_the_same_head_and_likelihood() -> None:
    settings: dict[str, Any] = {"graph": "frozen", "likelihood": "poisson", "hidden": 5, "profile": 3}
    ours = FlowModel(name="evolvegcn-flows", **settings)
    assert static_gcn(ours) == FlowModel(name="evolvegcn-flows", variant="O", **settings)


@pytest.mark.parametrize(
    "ours",
    [
        GcnModel(name="gcn"),
        FlowModel(name="evolvegcn-flows", variant="O"),
        RecurrentModel(name="gru"),
        DLinearModel(name="dlinear"),
        RegennModel(name="regenn"),
    ],
    ids=lambda model: model.label,
)
def test_a_model_that_is_one_or_reads_no_graph_has_none(ours: Any) -> None:
    assert static_gcn(ours) is None
