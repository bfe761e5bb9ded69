"""ReGENN's mode `reference` through the pipeline: the paper's training to the letter, and its leak kept in a cage."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.dataset import DataSet
from models.regenn_reference import Scale, train_epoch
from pipelines.artefact import describe_artefact, load_artefact, save_artefact
from pipelines.errors import RegistryError, SpecError, TrainingError
from pipelines.evaluate import backtest
from pipelines.experiment import Trained, enrol, forecast, load_champion, report
from pipelines.explain import explain
from pipelines.prepare import Prepared, prepare
from pipelines.register import logging_to
from pipelines.registry import client, fetch_forecaster, promote, versions
from pipelines.results import Registered
from pipelines.spec import RegennModel, Spec, Training, parse_spec
from pipelines.tables import score_table
from pipelines.train import Run, fit, new_network

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731
REFERENCE = {
    "name": "regenn",
    "hidden": None,
    "mode": "reference",
    "encoder": 8,
    "samples": "none",
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
LEAKY = {**REFERENCE, "normalisation": "leaky"}
PLAIN = {"epochs": 1, "learning_rate": 0.01, "gradient_clip": None, "batch_size": 4}


@pytest.fixture(scope="module")
def positive(waves: Callable[..., DataSet]) -> DataSet:
    dataset = waves(nodes=3, missing=0.0)
    values, span = dataset.panel.values, dataset.panel.index[[0, -1]].map(lambda time: time.isoformat())
    manifest = replace(dataset.manifest, span=tuple(span))
    return replace(dataset, panel=replace(dataset.panel, values=values - values.min() + 1), manifest=manifest)


def two_variables(dataset: DataSet) -> DataSet:
    panel = dataset.panel
    values, mask = (np.concatenate([part, part[::-1]], axis=2) for part in (panel.values, panel.mask))
    return replace(dataset, panel=replace(panel, values=values, mask=mask, variables=("y", "z")))


def task(wave_spec: Callable[..., Spec], dataset: DataSet, model: dict, **training: object) -> tuple[Spec, Prepared]:
    spec = wave_spec(model=model, training={**PLAIN, **training}, evaluation={"baselines": ["naive"]})
    return spec, prepare(spec, dataset)


def test_an_epoch_is_that_of_the_papers_loop(positive: DataSet, wave_spec: Callable[..., Spec], tmp_path: Path) -> None:
    """A second way: the loop of `models.regenn_reference` on bare tensors, from the same first weights."""
    spec, prepared = task(wave_spec, positive, REFERENCE, learning_rate=1e-4)
    fitted = fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET)
    torch.manual_seed(spec.training.seed)
    end = prepared.ranges.train_end
    start = new_network(prepared, spec.model, end)
    reference, sizes = start.network.reference, {"window": prepared.shape.window, "horizon": prepared.shape.horizon}
    values = prepared.series.values.flatten(1)[None].float()  # [1, T, V]
    before = {name: value.detach().clone() for name, value in reference.named_parameters()}
    train_epoch(
        reference,
        values,
        Scale(start.scaler.std.float().reshape(1, 1, -1)),
        torch.optim.Adam(reference.parameters(), lr=1e-4),
        starts=range(end - sum(sizes.values()) + 1),
        clip=float("inf"),
        **sizes,
    )
    ours = fitted.network.network.reference
    assert torch.equal(ours.graph, reference.graph)
    for name, first in before.items():
        theirs = reference.state_dict()[name]
        moved, apart = (theirs - first).abs().max(), (theirs - ours.state_dict()[name]).abs().max()
        # single precision; attention over one sample passes queries and keys no gradient but rounding
        assert apart < (0.1 if "in_proj" in name else 1e-4) * moved, name
    assert float(ours.graph.abs().sum()) > 0


def test_the_graph_grows_in_the_first_epoch_alone(
    positive: DataSet, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    graphs = []
    for epochs in (1, 2):
        spec, prepared = task(wave_spec, positive, REFERENCE, epochs=epochs)
        torch.manual_seed(0)
        network = new_network(prepared, spec.model, prepared.ranges.train_end)
        Run(prepared, network, spec.model, spec.training, prepared.ranges, tmp_path / str(epochs), QUIET).to_the_end("")
        graphs.append(network.network.graph.clone())
    assert torch.equal(*graphs)
    assert float(graphs[0].abs().sum()) > 0


def test_a_killed_run_goes_on_with_the_graph_it_had(
    positive: DataSet, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    spec, prepared = task(wave_spec, positive, {**REFERENCE, "dropout": 0.2}, epochs=2)

    def run(place: Path) -> Run:
        torch.manual_seed(0)
        network = new_network(prepared, spec.model, prepared.ranges.train_end)
        return Run(prepared, network, spec.model, spec.training, prepared.ranges, place, QUIET)

    whole = run(tmp_path / "whole")
    whole.to_the_end("regenn")
    killed = run(tmp_path / "killed")
    killed.network.train()
    for step in killed.plan(0)[:7]:
        killed.progress.loss_sum += killed._step(step)
        killed.progress.step += 1
    killed.save()
    again = run(tmp_path / "killed")
    again.to_the_end("regenn")
    for name, value in whole.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value), name


def test_nodes_are_trained_in_groups_each_on_its_own_scale(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    """With as many nodes as two groups have, some step is about one group; its loss must be in the data's unit."""
    spec, prepared = task(wave_spec, two_variables(waves(nodes=6)), {**REFERENCE, "samples": "nodes"}, batch_size=3)
    torch.manual_seed(0)
    network = new_network(prepared, spec.model, prepared.ranges.train_end)
    run = Run(prepared, network, spec.model, spec.training, prepared.ranges, tmp_path, QUIET)
    step = run.plan(0)[0]
    assert len(step.nodes) == 3
    batch = run.learn.take(step.samples)
    network.train()
    expected = copy.deepcopy(network)
    loss = run._part_loss(batch, step.nodes)
    x = expected.scaler.scale(batch.x)[:, :, step.nodes] * batch.mask[:, :, step.nodes]
    ahead = expected.network(x, batch.mask[:, :, step.nodes], batch.calendar) * expected.scaler.std[step.nodes]
    seen = batch.y_mask[:, :, step.nodes]
    error = (ahead - batch.y[:, :, step.nodes]).abs()[seen].mean()
    torch.testing.assert_close(loss, error, check_dtype=False)


def test_what_a_spec_leaves_out_is_as_in_the_paper() -> None:
    model = RegennModel.model_validate({"name": "regenn", "mode": "reference", "bias": True})
    assert (model.encoder, model.autoregression, model.dropout, model.profile, model.bias) == (
        2048,
        False,
        0.1,
        0,
        True,
    )
    assert model.label == "regenn (reference)"


def test_what_decides_a_step_is_as_in_the_paper_too(wave_spec: Callable[..., Spec]) -> None:
    training = wave_spec(model=REFERENCE).training
    assert (training.learning_rate, training.gradient_clip) == (1e-3, 10.0)
    assert wave_spec(model=REFERENCE, training={"gradient_clip": 1.0}).training.gradient_clip == 1.0
    assert wave_spec(model={"name": "regenn", "hidden": None}).training.gradient_clip == 1.0


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"normalisation": "leaky"}, "model: normalisation 'leaky' exists in mode 'reference' alone"),
        ({"mode": "reference", "predict": "change"}, "mode 'reference' forecasts the value itself"),
        ({"mode": "reference", "profile": 8}, "mode 'reference' knows no calendar"),
        ({"output": "relu", "predict": "pace"}, "a pace has both signs"),
        ({"mode": "reference", "encodr": 8}, "did you mean 'encoder'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(model: dict, said: str, tmp_path: Path) -> None:
    raw = {"name": "x", "data": {"kind": "long", "files": "x.csv", "timezone": "UTC"}}
    with pytest.raises(SpecError, match=said):
        parse_spec({**raw, "model": {"name": "regenn", **model}}, folder=tmp_path)


# ---------------------------------------------------------------- the leak


def later_by_ten(dataset: DataSet, after: int) -> DataSet:
    values = dataset.panel.values.copy()
    values[after:] *= 10
    return replace(dataset, panel=replace(dataset.panel, values=values))


@pytest.mark.parametrize(
    ("model", "sees"),
    [(LEAKY, True), (REFERENCE, False), ({"name": "regenn", "hidden": None, "output": "relu"}, False)],
)
def test_only_the_leaky_model_sees_the_test_range(
    model: dict, sees: bool, positive: DataSet, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    """Scale, zero, graph and weights after an epoch; validation is left as it is, for it chooses the epoch."""
    spec, prepared = task(wave_spec, positive, {**model, "predict": "value"})
    changed = prepare(spec, later_by_ten(positive, prepared.ranges.validation_end))
    fitted = [
        fit(each, spec.model, spec.training, folder=tmp_path / str(at), say=QUIET)
        for at, each in enumerate((prepared, changed))
    ]
    before, after = (each.network.state_dict() for each in fitted)
    assert all(torch.equal(before[name], after[name]) for name in before) != sees


def test_a_group_of_nodes_without_a_target_teaches_nothing_and_stops_nothing(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    late = two_variables(waves(nodes=4, missing=0.0))
    mask = late.panel.mask.copy()
    mask[:100, :2] = False
    late = replace(late, panel=replace(late.panel, mask=mask, values=np.where(mask, late.panel.values, np.nan)))
    spec, prepared = task(wave_spec, late, {**REFERENCE, "samples": "nodes"}, batch_size=1)
    assert fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET).history.epochs["train_loss"][0] > 0


def test_a_series_far_from_zero_is_learned_as_well_as_one_near_it(
    positive: DataSet, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    """The zero of a billion with a spread of five is 2e8 standard deviations away: no room in single precision."""
    model = {"name": "regenn", "hidden": None, "predict": "value", "encoder": 8}
    far = replace(positive, panel=replace(positive.panel, values=positive.panel.values + 1e9))
    losses = []
    for at, dataset in enumerate((positive, far)):
        spec, prepared = task(wave_spec, dataset, model, epochs=3)
        fitted = fit(prepared, spec.model, spec.training, folder=tmp_path / str(at), say=QUIET)
        losses.append(float(fitted.history.epochs["validation_loss"].min()))
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.fixture(scope="module")
def leaked(
    home: Path, positive: DataSet, wave_spec: Callable[..., Spec], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Spec, Trained, Registered]]:
    spec, prepared = task(wave_spec, positive, LEAKY)
    spec = spec.model_copy(update={"name": "leaky"})
    trained = Trained(prepared, backtest(spec, prepared, folder=tmp_path_factory.mktemp("leaky"), say=QUIET))
    yield spec, trained, enrol(spec, positive, trained, say=QUIET)[0]
    client().delete_registered_model(spec.registered_name)  # the store is everybody's


def test_a_leaky_model_is_never_champion_not_even_as_the_only_one(leaked: tuple[Spec, Trained, Registered]) -> None:
    spec, _, registered = leaked
    assert registered.alias == "challenger"
    assert "leaky" in registered.reason
    with pytest.raises(RegistryError, match="no champion"):
        load_champion(spec.registered_name)


def test_a_leaky_model_can_not_be_crowned_by_hand(leaked: tuple[Spec, Trained, Registered]) -> None:
    with pytest.raises(RegistryError, match="seen its test range"):
        promote(leaked[0].registered_name, leaked[2].version)


def test_an_alias_set_in_mlflow_does_not_make_a_leaky_model_serve(leaked: tuple[Spec, Trained, Registered]) -> None:
    store, name = client(), leaked[0].registered_name
    store.set_registered_model_alias(name, "champion", leaked[2].version)
    with pytest.raises(RegistryError, match="no champion"):
        load_champion(name)
    store.delete_registered_model_alias(name, "champion")


def test_a_leaky_forecast_is_that_of_the_leaky_version_whatever_came_later(
    leaked: tuple[Spec, Trained, Registered], positive: DataSet
) -> None:
    store, name = client(), leaked[0].registered_name
    leaky = store.get_model_version(name, leaked[2].version)
    with logging_to(store):
        later = store.create_model_version(name, source=leaky.source, run_id=leaky.run_id)
    store.set_registered_model_alias(name, "challenger", later.version)
    assert forecast(leaked[0], positive).version == leaked[2].version
    store.set_registered_model_alias(name, "challenger", leaked[2].version)
    store.delete_model_version(name, later.version)


def test_a_champion_that_can_not_be_read_is_replaced(
    leaked: tuple[Spec, Trained, Registered], positive: DataSet, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    """As one that an older flockcast has written; it serves nobody."""
    spec, prepared = task(wave_spec, positive, {"name": "dlinear", "hidden": None})
    spec = spec.model_copy(update={"name": "unread"})
    first = enrol(spec, positive, Trained(prepared, backtest(spec, prepared, folder=tmp_path, say=QUIET)), say=QUIET)[0]
    place = fetch_forecaster(client(), client().get_model_version("unread", first.version))
    (place / "config.json").write_text("{}")
    again = spec.model_copy(update={"training": spec.training.model_copy(update={"seed": 1})})
    second = enrol(again, positive, Trained(prepared, backtest(again, prepared, folder=tmp_path, say=QUIET)), say=QUIET)
    client().delete_registered_model("unread")
    assert second[0].alias == "champion"
    assert "version 1 before it can't be read" in second[0].reason


def test_every_table_and_the_report_call_it_leaky(
    leaked: tuple[Spec, Trained, Registered], positive: DataSet, tmp_path: Path
) -> None:
    spec, trained, registered = leaked
    result = trained.evaluated.backtest
    assert "regenn (reference, leaky) *" in score_table(result)
    assert "LEAKY" in result.protocol
    found = forecast(spec, positive)
    assert found.model == "regenn (reference, leaky)"
    page = report(spec, positive, trained, registered, found, tmp_path / "report.html").read_text()
    assert page.count("regenn (reference, leaky)") > 2
    assert [row.model for row in versions(spec.registered_name)] == ["regenn (reference, leaky)"]
    entry = client().get_model_version(spec.registered_name, registered.version)
    assert "LEAKY" in entry.description


def test_a_saved_reference_forecasts_as_the_trained_one_and_its_relations_are_kept(
    leaked: tuple[Spec, Trained, Registered], tmp_path: Path
) -> None:
    spec, trained, _ = leaked
    save_artefact(tmp_path / "a", describe_artefact(spec, trained.prepared, trained.evaluated), trained.evaluated)
    again, ours = load_artefact(tmp_path / "a").network, trained.evaluated.fitted.network
    series, window = trained.prepared.series, trained.prepared.shape.window
    steps = torch.zeros(1, window + trained.prepared.shape.horizon, 3)
    x, mask = series.values[None, -window:], series.mask[None, -window:]
    assert torch.equal(again(x, mask, steps), ours(x, mask, steps))
    assert explain(trained.prepared, trained.evaluated.fitted) is not None


# ---------------------------------------------------------------- a start without a gradient


def dead(prepared: Prepared, model: RegennModel, training: Training, place: Path, share: float) -> Run:
    """A run whose network gives only less than zero before its ReLU, for that share of its nodes."""
    network = new_network(prepared, model, prepared.ranges.train_end)
    network.network.zero[: round(len(network.network.zero) * share)] = 1e6
    return Run(prepared, network, model, training, prepared.ranges, place, QUIET)


def test_a_start_that_can_not_learn_is_refused_with_the_way_out(
    positive: DataSet, wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    spec, prepared = task(wave_spec, positive, {"name": "regenn", "hidden": None, "output": "relu", "predict": "value"})
    with pytest.raises(TrainingError, match="another training.seed"):
        dead(prepared, spec.model, spec.training, tmp_path / "all", 1.0).to_the_end("regenn")
    said: list[str] = []
    run = dead(prepared, spec.model, spec.training, tmp_path / "some", 1 / 3)
    run.say = said.append
    run.to_the_end("regenn")
    assert any("33% of the outputs of regenn are zero for every window" in line for line in said)


def test_a_relu_for_data_with_values_below_zero_is_refused(positive: DataSet, wave_spec: Callable[..., Spec]) -> None:
    below = replace(positive, panel=replace(positive.panel, values=positive.panel.values - 5))
    model = {"name": "regenn", "hidden": None, "output": "relu", "predict": "value"}
    spec, prepared = task(wave_spec, below, model)
    with pytest.raises(SpecError, match="the training range has values below zero"):
        new_network(prepared, spec.model, prepared.ranges.train_end)


def test_the_output_follows_the_range_of_the_training_data(positive: DataSet, wave_spec: Callable[..., Spec]) -> None:
    model = {"name": "regenn", "hidden": None, "predict": "value"}
    cold = replace(positive, panel=replace(positive.panel, values=positive.panel.values - 5))
    for dataset, kind in ((positive, torch.nn.ReLU), (cold, torch.nn.Identity)):
        spec, prepared = task(wave_spec, dataset, model)
        network = new_network(prepared, spec.model, prepared.ranges.train_end)
        assert isinstance(network.network.network.output, kind)
    spec, prepared = task(wave_spec, positive, model)
    network = new_network(prepared, spec.model, prepared.ranges.train_end).eval()
    low = torch.zeros(1, prepared.shape.window, prepared.shape.nodes, prepared.shape.variables).double()
    ahead = network(
        low, torch.ones_like(low, dtype=torch.bool), torch.zeros(1, prepared.shape.window + prepared.shape.horizon, 3)
    )
    assert float(ahead.detach().min()) > -1e-4  # counted from the data's zero, not from the mean of training
