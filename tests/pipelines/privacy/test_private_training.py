"""A private training from the spec to the ledger: what is promised, spent, proved and kept."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.dataset import DataSet
from pipelines import private_training
from pipelines.artefact import describe_artefact, load_artefact, save_artefact
from pipelines.errors import BudgetRefused, PrivacyError, RegistryError, SpecError, TrainingError
from pipelines.evaluate import applicable, backtest, forecast_at
from pipelines.experiment import outlook
from pipelines.prepare import Prepared, prepare
from pipelines.privacy.claim import Protection
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.ledger.records import Policy
from pipelines.privacy.mechanisms import Unit
from pipelines.privacy.private_network import private_network
from pipelines.privacy.private_step import NoisedOptimizer
from pipelines.privacy.randomness import SeededRandomness
from pipelines.privacy.registered import require_trained
from pipelines.privacy.training_plan import plan_training
from pipelines.privacy.window_sampling import PoissonSampler
from pipelines.private_training import AHEAD, fit_privately
from pipelines.register import register, registration_key
from pipelines.registry import client
from pipelines.spec import Spec, parse_spec
from pipelines.train import Fitted

PRIVACY = {
    "mechanism": "dp_sgd",
    "unit": "window",
    "epsilon": 20.0,
    "noise_multiplier": 1.5,
    "public_scale": {"location": 20, "spread": 5},
}
Make = Callable[..., Spec]


@pytest.fixture
def data(waves: Callable[..., DataSet]) -> DataSet:
    found = waves(240)
    return replace(found, manifest=replace(found.manifest, sources={"waves.csv": "ab" * 32}))


def spec_of(privacy: dict[str, Any] | None = None, **tables: dict[str, Any]) -> Spec:
    raw = {
        "name": "waves",
        "data": {"kind": "long", "files": "waves.csv"},
        "task": {"window": 12, "horizon": 3} | tables.get("task", {}),
        "model": tables.get("model", {"name": "gru", "hidden": 4, "profile": 4}),
        "training": {"epochs": 8, "learning_rate": 0.01} | tables.get("training", {}),
        "evaluation": {"baselines": ["naive"]} | tables.get("evaluation", {}),
        "privacy": {**PRIVACY, **(privacy or {})},
    }
    return parse_spec(raw, folder=Path())


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """With a budget for both units; the home is a scratch folder."""
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path))
    monkeypatch.setenv("FLOCKCAST_LEDGER_MODE", "test")
    opened = Ledger.open()
    for unit in ("window", "slot"):
        grant(opened, unit)
    return opened


def grant(ledger: Ledger, unit: Unit) -> None:
    policy = Policy("default", "waves", unit, epsilon=100.0, delta=1e-6, order=4.0)
    ledger.grant(policy, actor="owner", reason="a test", approver="another", separately=True)


def fitted(spec: Spec, prepared: Prepared, ledger: Ledger, folder: Path, seed: int = 0) -> Fitted:
    silent: Callable[[str], None] = lambda text: None  # noqa: E731
    return fit_privately(spec, prepared, folder=folder, ledger=ledger, randomness=SeededRandomness(seed), say=silent)


def kinds(ledger: Ledger) -> list[str]:
    """Of the entries of runs, oldest first."""
    of_runs = ("reserve", "start", "progress", "commit", "refuse")
    return [entry.type for entry in ledger.entries() if entry.type in of_runs]


def test_the_ledger_holds_what_a_private_training_promises(data: DataSet, ledger: Ledger, tmp_path: Path) -> None:
    spec = spec_of()
    prepared = prepare(spec, data)
    made = fitted(spec, prepared, ledger, tmp_path)
    assert made.protection is not None
    claim, plan = made.protection.claim, plan_training(spec, prepared, prepared.ranges)
    announced = ["progress"] * math.ceil(plan.mechanism.steps / AHEAD)
    assert kinds(ledger) == ["reserve", "start", *announced, "commit"]
    commit = ledger.entries(type="commit")[-1]
    assert (commit.seq, commit.hash) == (made.protection.ledger_seq, made.protection.ledger_hash)
    assert claim.mechanism == plan.mechanism
    assert commit.fields["mechanism"]["steps"] == str(plan.mechanism.steps)
    assert float(commit.fields["epsilon"]) == pytest.approx(claim.epsilon, rel=1e-5)
    assert claim.epsilon <= 20
    assert (claim.unit, claim.relation, made.protection.serving) == ("window", "zero out", "raw_input_internal")
    assert ledger.verify().flaw is None


def test_weights_carry_the_hash_that_the_ledger_holds(data: DataSet, ledger: Ledger, tmp_path: Path) -> None:
    import hashlib

    spec = spec_of()
    fitted(spec, prepare(spec, data), ledger, tmp_path)
    (weights,) = tmp_path.glob("*/weights.safetensors")
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert ledger.entries(type="commit")[-1].fields["artifact_hash"] == found


def test_an_equal_run_costs_nothing_and_another_seed_is_charged(data: DataSet, ledger: Ledger, tmp_path: Path) -> None:
    spec = spec_of()
    first = fitted(spec, prepare(spec, data), ledger, tmp_path)
    again = fitted(spec, prepare(spec, data), ledger, tmp_path, seed=1)
    assert again.reused
    assert again.protection == first.protection
    assert kinds(ledger).count("commit") == 1
    for name, value in again.network.state_dict().items():
        torch.testing.assert_close(value, first.network.state_dict()[name], rtol=0, atol=0)
    other = spec_of(training={"seed": 5})
    fitted(other, prepare(other, data), ledger, tmp_path)
    assert kinds(ledger).count("commit") == 2


def test_damaged_weights_are_not_trained_anew_unasked(data: DataSet, ledger: Ledger, tmp_path: Path) -> None:
    spec = spec_of()
    fitted(spec, prepare(spec, data), ledger, tmp_path)
    (weights,) = tmp_path.glob("*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(TrainingError, match="charged anew"):
        fitted(spec, prepare(spec, data), ledger, tmp_path)
    assert kinds(ledger).count("reserve") == 1


def test_without_a_budget_nothing_is_trained(data: DataSet, ledger: Ledger, tmp_path: Path) -> None:
    spec = spec_of({"data_set": "elsewhere"})
    with pytest.raises(BudgetRefused, match="no budget for unit window"):
        fitted(spec, prepare(spec, data), ledger, tmp_path)
    assert not list(tmp_path.glob("gru-private*"))


def test_noise_of_a_known_seed_is_refused_by_a_ledger_in_earnest(data: DataSet, tmp_path: Path) -> None:
    spec = spec_of()
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", for_tests=False)
    grant(ledger, "window")
    with pytest.raises(BudgetRefused, match="can be drawn again"):
        fitted(spec, prepare(spec, data), ledger, tmp_path)


def test_beside_a_private_training_no_network_is_trained_without_privacy(data: DataSet) -> None:
    asked = {"baselines": ["naive", "ridge", "dlinear", "stid"]}
    private = spec_of(evaluation=asked)
    plain = private.model_copy(update={"privacy": None})
    assert applicable(plain, prepare(plain, data)) == ["naive", "ridge", "dlinear", "stid"]
    assert applicable(private, prepare(private, data)) == ["naive", "ridge"]


def test_a_run_that_skipped_noise_fails_and_leaves_no_model(
    data: DataSet, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = NoisedOptimizer.add_noise

    def skipping(optimizer: NoisedOptimizer) -> None:
        right(optimizer)
        optimizer.draws -= optimizer.draws == 3  # the third draw did not happen

    monkeypatch.setattr(NoisedOptimizer, "add_noise", skipping)
    spec = spec_of()
    with pytest.raises(PrivacyError, match="must be equal"):
        fitted(spec, prepare(spec, data), ledger, tmp_path)
    assert not list(tmp_path.glob("*/weights.safetensors"))
    assert ledger.entries(type="commit")[-1].fields["artifact_hash"] == "failed"


def test_steps_are_announced_before_they_are_taken(
    data: DataSet, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stops anywhere has announced what it did, and the next one is charged for all of its own."""
    monkeypatch.setattr(private_training, "AHEAD", 10)
    right, spec = NoisedOptimizer.add_noise, spec_of()

    def stopped(optimizer: NoisedOptimizer) -> None:
        if optimizer.draws == 13:
            raise KeyboardInterrupt
        right(optimizer)

    monkeypatch.setattr(NoisedOptimizer, "add_noise", stopped)
    with pytest.raises(KeyboardInterrupt):
        fitted(spec, prepare(spec, data), ledger, tmp_path)
    assert ledger.entries(type="progress")[-1].fields["steps"] == "20"
    assert not list(tmp_path.glob("*/weights.safetensors"))
    monkeypatch.setattr(NoisedOptimizer, "add_noise", right)
    made = fitted(spec, prepare(spec, data), ledger, tmp_path)
    assert not made.reused
    assert len({entry.fields["run_id"] for entry in ledger.entries(type="reserve")}) == 2


def test_a_slot_is_charged_for_every_window_that_holds_it(data: DataSet, ledger: Ledger, tmp_path: Path) -> None:
    by_window, by_slot = (spec_of({"unit": unit, "epsilon": 1e6}) for unit in ("window", "slot"))
    prepared = prepare(by_slot, data)
    window, slot = (plan_training(spec, prepared, prepared.ranges) for spec in (by_window, by_slot))
    assert slot.mechanism.group_size == 15  # windows of 12 + 3
    assert slot.claim.epsilon > 5 * window.claim.epsilon
    apart = spec_of({"unit": "slot", "epsilon": 1e6, "batch_size": 4}, task={"stride": 5})
    prepared = prepare(apart, data)
    assert plan_training(apart, prepared, prepared.ranges).mechanism.group_size == 3
    assert fitted(apart, prepared, ledger, tmp_path).protection is not None


def test_a_window_epsilon_told_as_a_slot_epsilon_is_refused(
    data: DataSet, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.privacy.training_plan._group_size", lambda *given: 1)
    spec = spec_of({"unit": "slot"})
    with pytest.raises(BudgetRefused, match="one slot is in up to 15 samples, but the run accounts for 1"):
        fitted(spec, prepare(spec, data), ledger, tmp_path)


def test_disjoint_tiles_bring_a_slot_into_one_window_of_a_step(data: DataSet, ledger: Ledger, tmp_path: Path) -> None:
    spec = spec_of({"unit": "slot", "sampling": "tiling", "batch_size": 4, "epsilon": 100.0})
    prepared = prepare(spec, data)
    plan = plan_training(spec, prepared, prepared.ranges)
    assert (plan.mechanism.group_size, plan.mechanism.sampling) == (1, "tiling")
    assert plan.sampler.expected == pytest.approx(4)
    assert fitted(spec, prepared, ledger, tmp_path).protection is not None
    strided = spec_of({"unit": "slot", "sampling": "tiling", "batch_size": 4}, task={"stride": 2})
    with pytest.raises(SpecError, match=r"task.stride = 1"):
        plan_training(strided, prepare(strided, data), prepared.ranges)


def test_batches_that_are_shuffled_are_not_accounted_for_as_poisson(
    data: DataSet, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shuffled(PoissonSampler):
        def draw(self, randomness: Any) -> torch.Tensor:
            return randomness.uniform(self.windows).argsort()[: round(self.expected)]

    plan = private_training.plan_training

    def fixed(*given: Any) -> Any:
        found = plan(*given)
        return replace(found, sampler=Shuffled(found.sampler.windows, found.sampler.sample_rate, kind="shuffled"))

    monkeypatch.setattr(private_training, "plan_training", fixed)
    spec = spec_of()
    with pytest.raises(BudgetRefused, match="drawn by 'shuffled' but the accounting takes 'poisson'"):
        fitted(spec, prepare(spec, data), ledger, tmp_path)


def test_noise_that_does_not_keep_the_promise_is_refused(data: DataSet) -> None:
    spec = spec_of({"epsilon": 0.5})
    prepared = prepare(spec, data)
    with pytest.raises(SpecError, match=r"costs epsilon .* per window, and privacy.epsilon promises 0.5"):
        plan_training(spec, prepared, prepared.ranges)


@pytest.mark.parametrize("unit", ["window", "slot"])
def test_a_delta_that_would_give_away_a_whole_window_is_refused(data: DataSet, unit: str) -> None:
    """How many there are is public, so that nobody need say it."""
    spec = spec_of({"unit": unit, "delta": 0.01, "epsilon": 1e6})
    with pytest.raises(SpecError, match=r"privacy.delta: delta is 0.01 for 1\d\d units"):
        plan_training(spec, prepare(spec, data), prepare(spec, data).ranges)


def test_auto_takes_the_least_noise_that_keeps_the_promise(data: DataSet) -> None:
    spec = spec_of({"epsilon": 3.0, "noise_multiplier": "auto"})
    prepared = prepare(spec, data)
    plan = plan_training(spec, prepared, prepared.ranges)
    assert 2.95 < plan.claim.epsilon <= 3.0


def test_an_untrained_network_knows_nothing_of_the_values(data: DataSet) -> None:
    """Neither does the plan: everything before the first step is the same for other values and other gaps."""
    draw = np.random.default_rng(0)
    mask = draw.random(data.panel.mask.shape) > 0.3
    values = np.where(mask, draw.normal(size=mask.shape) * 1e3, np.nan)
    other = replace(data, panel=replace(data.panel, values=values, mask=mask))
    for model in ({"name": "gru"}, {"name": "dlinear"}, {"name": "stid"}, {"name": "regenn", "samples": "none"}):
        spec, states, plans = spec_of(model=model), [], []
        for each in (data, other):
            torch.manual_seed(0)
            prepared = prepare(spec, each)
            network = private_network(spec, prepared)
            assert getattr(network.network, "predict", "change") == "change"  # not what would suit these values
            states.append(network.state_dict())
            plans.append(plan_training(spec, prepared, prepared.ranges))
        assert plans[0] == plans[1]
        for name, value in states[0].items():
            torch.testing.assert_close(value, states[1][name], rtol=0, atol=0)


def test_a_node_is_not_left_out_because_nobody_was_there(data: DataSet) -> None:
    """One observation in one slot would decide how many weights there are."""
    mask = data.panel.mask.copy()
    mask[:200, 1] = False
    with pytest.raises(SpecError, match="'n1' has no observation in the training range"):
        prepare(spec_of(), replace(data, panel=replace(data.panel, mask=mask)))
    mask[50, 1] = True
    assert len(prepare(spec_of(), replace(data, panel=replace(data.panel, mask=mask))).panel.nodes) == 3


def test_what_is_registered_forecasts_what_was_trained_and_has_no_choice_that_follows_from_values(
    data: DataSet, ledger: Ledger, tmp_path: Path
) -> None:
    """Noise around a mean: here `auto` would be the value, and the network was trained to forecast the change."""
    values = 20 + np.random.default_rng(0).normal(size=data.panel.values.shape)
    data = replace(data, panel=replace(data.panel, values=values))
    spec = spec_of(training={"epochs": 1})
    prepared = prepare(spec, data)
    evaluated = backtest(spec, prepared, folder=tmp_path, say=lambda text: None)
    save_artefact(tmp_path / "kept", describe_artefact(spec, prepared, evaluated), evaluated)
    served = load_artefact(tmp_path / "kept")
    assert (served.config.shape["predict"], served.config.shape["output"]) == ("change", "Identity")
    cutoffs = range(100, 110)
    ours, theirs = (forecast_at(n, prepared, cutoffs, window=12) for n in (evaluated.fitted.network, served.network))
    np.testing.assert_allclose(theirs, ours, rtol=1e-6)


def test_the_weights_are_those_of_the_last_step_and_no_loss_is_kept(
    data: DataSet, ledger: Ledger, tmp_path: Path
) -> None:
    spec = spec_of()
    made = fitted(spec, prepare(spec, data), ledger, tmp_path)
    assert made.history.best_epoch == len(made.history.epochs) - 1
    assert made.history.epochs["train_loss"].is_nan().all()
    assert made.history.epochs["validation_loss"].is_nan().all()


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"task": {"busiest": 2}}, "task.busiest"),
        ({"model": {"name": "regenn", "mode": "reference"}}, "model.mode"),
        ({"model": {"name": "gcn", "graph": "correlation"}}, "model.graph"),
        ({"training": {"precision": "bfloat16"}}, "training.precision"),
        ({"evaluation": {"refits": 2}}, "evaluation.refits"),
    ],
)
def test_settings_that_let_raw_values_into_the_weights_are_refused(
    data: DataSet, tables: dict[str, Any], says: str
) -> None:
    spec = spec_of(**tables)
    with pytest.raises(SpecError, match=rf"{says}: not with privacy.mechanism 'dp_sgd'"):
        private_network(spec, prepare(spec, data))


def test_the_public_scale_is_asked_for_by_name(data: DataSet) -> None:
    prepared = prepare(spec_of(), data)
    by_node = {"location": 1.0, "spread": {"n0": 1.0, "n1": 2.0, "n2": 3.0}}
    scaler = private_network(spec_of({"public_scale": by_node}), prepared).scaler
    torch.testing.assert_close(scaler.std[:, 0], torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    scaler = private_network(spec_of({"public_scale": {"spread": {"y": 7.0}}}), prepared).scaler
    assert (scaler.std == 7).all()
    for wrong, says in (({"n0": 1.0}, "'n1' is missing"), ({"n9": 1.0}, "'n9' is neither a node nor a variable")):
        with pytest.raises(SpecError, match=says):
            private_network(spec_of({"public_scale": {"spread": wrong}}), prepared)
    with pytest.raises(SpecError, match=r"privacy.public_scale: missing"):
        parse_spec(
            {
                "name": "waves",
                "data": {"kind": "long", "files": "waves.csv"},
                "privacy": {key: value for key, value in PRIVACY.items() if key != "public_scale"},
            },
            folder=Path(),
        )


def test_check_tells_the_price_and_spends_nothing(data: DataSet, ledger: Ledger) -> None:
    spec, before = spec_of(), len(ledger.entries())
    told = outlook(spec, data)
    assert "Protects one training window" in told
    assert "Poisson sampling at rate" in told
    assert len(ledger.entries()) == before


def test_the_backtest_scores_a_private_network_and_hands_its_protection_on(
    data: DataSet, ledger: Ledger, tmp_path: Path
) -> None:
    spec = spec_of()
    evaluated = backtest(spec, prepare(spec, data), folder=tmp_path, say=lambda text: None)
    assert isinstance(evaluated.fitted.protection, Protection)
    assert json.loads(evaluated.fitted.protection.to_json())["claim"]["unit"] == "window"
    assert np.isfinite(evaluated.backtest.total("gru", "mae"))


def test_a_private_version_says_what_it_promises_and_is_registered_beside_its_ledger(
    data: DataSet, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    spec = spec_of()
    prepared = prepare(spec, data)
    evaluated = backtest(spec, prepared, folder=tmp_path, say=lambda text: None)
    protection = evaluated.fitted.protection
    assert protection is not None
    monkeypatch.setenv("FLOCKCAST_LEDGER", f"sqlite:///{tmp_path / 'another.db'}")
    with pytest.raises(RegistryError, match="has no entry"):
        register(spec, data, prepared, evaluated)
    monkeypatch.delenv("FLOCKCAST_LEDGER")
    registered = register(spec, data, prepared, evaluated)
    tags = client(None).get_model_version(registered.name, registered.version).tags
    assert tags["privacy.claim"] == protection.claim.sentence
    assert tags["privacy.serving"] == "raw_input_internal"
    assert tags["privacy.ledger_hash"] == protection.ledger_hash


def test_a_second_private_training_is_not_taken_for_the_version_of_the_first(
    data: DataSet, ledger: Ledger, tmp_path: Path
) -> None:
    """All that decides the weights is equal, but for the noise."""
    spec = spec_of(training={"epochs": 1})
    prepared = prepare(spec, data)
    first, same, second = (
        backtest(spec, prepared, folder=tmp_path / place, say=lambda text: None) for place in ("a", "a", "b")
    )
    assert (same.fitted.reused, second.fitted.reused) == (True, False)
    assert first.fitted.key == second.fitted.key
    assert registration_key(spec, first) == registration_key(spec, same)
    assert registration_key(spec, first) != registration_key(spec, second)


def test_other_weights_or_another_promise_than_was_charged_are_not_registered(
    data: DataSet, ledger: Ledger, tmp_path: Path
) -> None:
    spec = spec_of(training={"epochs": 1})
    made = fitted(spec, prepare(spec, data), ledger, tmp_path)
    assert made.protection is not None
    require_trained(made.protection, made.network)
    claim = made.protection.claim
    for lie in ({"epsilon": claim.epsilon / 2}, {"unit": "slot"}, {"delta": 1e-9}):
        with pytest.raises(RegistryError, match="not what run .* was charged for"):
            require_trained(replace(made.protection, claim=replace(claim, **lie)), made.network)
    with torch.no_grad():
        next(made.network.parameters()).add_(1)
    with pytest.raises(RegistryError, match="weights are not those"):
        require_trained(made.protection, made.network)


@pytest.mark.parametrize(
    "model",
    [
        {"name": "bilstm", "hidden": 4, "layers": 2, "dropout": 0.3},
        {"name": "dlinear", "kernel": 3},
        {"name": "dlinear", "kernel": 3, "predict": "pace"},
        {"name": "stid", "hidden": 4},
        {"name": "regenn", "samples": "none", "encoder": 8},
        {"name": "gcn", "graph": "given", "edges": "edges.csv", "hidden": 4},
        {"name": "evolvegcn", "graph": "given", "edges": "edges.csv", "hidden": 4, "snapshots": 3},
        {"name": "graph-recurrent", "graph": "given", "edges": "edges.csv", "hidden": 4, "snapshots": 2},
    ],
    ids=lambda model: "-".join(str(value) for value in model.values()),
)
def test_every_forecaster_trains_privately(
    model: dict[str, Any], data: DataSet, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edges.csv").write_text("source,target\nn0,n1\nn1,n2\n")
    spec = spec_of({"batch_size": 6}, model=model, training={"epochs": 1}).model_copy(update={"folder": tmp_path})
    made = fitted(spec, prepare(spec, data), ledger, tmp_path)
    before = private_network(spec, prepare(spec, data)).state_dict()
    assert any(not torch.equal(value, before[name]) for name, value in made.network.state_dict().items())
