"""What a model cost and why: the run behind it, its mechanism in one sentence, and what its blocks have seen since."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from pipelines.errors import LedgerError
from pipelines.privacy import accounting
from pipelines.privacy.claim import Claim
from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.account import Account, Run
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.composition import chosen, compose
from pipelines.privacy.ledger.records import Policy
from pipelines.privacy.mechanisms import (
    GaussianRelease,
    GeometricRelease,
    Mechanism,
    PrivateTraining,
    RandomStopping,
)
from pipelines.privacy.renyi import expected_trials
from pipelines.registry import client


@dataclass(frozen=True)
class Story:
    run: Run
    sentence: str  # the claim
    mechanism: str
    details: tuple[str, ...]
    caption: str
    blocks: tuple[tuple[str, Decimal], ...]  # ranges, and epsilon of all that counts on them now
    cap: str
    place: str  # in the ledger


def stories(entries: Iterable[Entry], name: str) -> list[Story]:
    """Of every run that `name` is the id, the model version, the model or the artefact of.

    Raises LedgerError if nothing is called that.
    """
    listed = list(entries)
    known = [run_id for run_id in dict.fromkeys(map(_run_id, listed)) if run_id]
    found = [run_id for run_id in known if _is(listed, run_id, name)]
    found = found or [run_id for run_id in registered_runs(name) if run_id in known]
    if not found:
        raise LedgerError(f"the ledger has no run or model called {name!r}; `flockcast budget show` names the runs")
    return [_story(listed, run_id) for run_id in found]


def registered_runs(name: str) -> list[str]:
    """The ledger's runs behind the versions of a registered model "name", or behind one of them, "name/3"."""
    model, _, version = name.partition("/")
    found = client().search_model_versions(f"name = '{model}'") if model.isprintable() and "'" not in model else []
    tags = [each.tags for each in found if version in ("", str(each.version))]
    return [tag["privacy.ledger_run"] for tag in tags if "privacy.ledger_run" in tag]


def mechanism_sentence(mechanism: Mechanism) -> str:
    """What was done, for people who have to decide whether that is enough."""
    if isinstance(mechanism, GaussianRelease):
        return (
            f"counts were released with Gaussian integer noise of scale {mechanism.scale:g}; one unit can move all of "
            f"them together by {mechanism.sensitivity:g} (L2)"
        )
    if isinstance(mechanism, GeometricRelease):
        return (
            f"counts were released with geometric integer noise of scale {mechanism.scale:g}; one unit can move all of "
            f"them together by {mechanism.sensitivity:g} (L1)"
        )
    if isinstance(mechanism, RandomStopping):
        return (
            f"the best of a random number of trainings was kept, {expected_trials(mechanism):.3g} on average; of each, "
            f"{mechanism_sentence(mechanism.trial)}"
        )
    samples = "one sample" if mechanism.group_size == 1 else f"up to {mechanism.group_size} samples"
    how = "of disjoint tiles" if mechanism.sampling == "tiling" else "at random"
    return (
        f"{mechanism.steps:,} steps of training drew samples {how} with chance {mechanism.sample_rate:.4g}, clipped "
        f"each to {mechanism.max_grad_norm:g} and added noise of {mechanism.noise_multiplier:g} times that; one unit "
        f"is in {samples}"
    )


def _story(entries: list[Entry], run_id: str) -> Story:
    own = [entry for entry in entries if entry.get("run_id") == run_id]
    reserve = next(entry for entry in own if entry.type == "reserve")
    where = (reserve.get("tenant"), reserve.get("dataset_id"))
    account = Account.of(entry for entry in entries if (entry.get("tenant"), entry.get("dataset_id")) == where)
    run = account.runs[run_id]
    if run.reserved is None:
        raise LedgerError(
            f"run {run_id} was made without privacy (entry {reserve.seq}); what it made stays in the house"
        )
    policy, _ = account.policies[run.unit]
    spent = run.committed or run.reserved
    together = compose(chosen(account.histories(run.unit), run.blocks), policy)
    return Story(
        run=run,
        sentence=_claim(run, spent, policy).sentence,
        mechanism=mechanism_sentence(spent),
        details=tuple(_details(run, own)),
        caption=f"epsilon of unit {policy.unit} at delta {policy.delta:.3g}, by {accounting.ACCOUNTANT}",
        blocks=tuple((row.blocks, cost.epsilon(tuple(row.past), policy.delta)) for row in together),
        cap=f"{policy.epsilon:g}",
        place=f"ledger: entries {own[0].seq} to {own[-1].seq}, the last with hash {own[-1].hash}",
    )


def _claim(run: Run, spent: Mechanism, policy: Policy) -> Claim:
    fields = run.entry.fields
    delta = float(fields["delta"])
    epsilon = float(cost.epsilon(run.counted, delta))  # with what corrections have added
    relation, accountant = fields["relation"], accounting.ACCOUNTANT
    assumed = tuple(fields.get("assumptions", ()))
    return Claim(policy.unit, relation, epsilon, delta, accountant, spent, fields.get("span"), assumed)


def _details(run: Run, own: list[Entry]) -> Iterable[str]:
    fields = run.entry.fields
    yield f"of: {fields['dataset_id']} of {fields['tenant']}, version {fields['dataset_version']}"
    yield f"by: {fields['actor']}, code {fields['code_revision']}, settings {fields['config_hash']}"
    if isinstance(run.reserved, PrivateTraining):
        charged = run.committed.steps if isinstance(run.committed, PrivateTraining) else run.reserved.steps
        attempts = f" over {len(run.attempts)} attempts" if len(run.attempts) > 1 else ""
        yield f"steps: {run.reserved.steps:,} reserved, {run.attempted:,} announced{attempts}, {charged:,} charged"
    if run.released:
        yield "given back before it began: it cost nothing"
    if run.commit and run.commit.get("actor") == "reaper":
        yield "its process ended without a word, so it counts for all that it may have done"
    for entry in own:
        if entry.type == "audit" and entry.get("phase") == "result":
            bound = f"at least {entry.get('lower_bound')} at delta {entry.get('delta')}"
            yield f"audited ({entry.get('kind')}): {entry.get('verdict')}; epsilon of one {entry.get('unit')} {bound}"
        if entry.type == "correction":
            yield f"corrected (entry {entry.seq}): {entry.get('reason')}"


def _run_id(entry: Entry) -> str:
    return str(entry.get("run_id")) if entry.type == "reserve" else ""


def _is(entries: list[Entry], run_id: str, name: str) -> bool:
    if run_id == name:
        return True
    commits = [entry for entry in entries if entry.type == "commit" and entry.get("run_id") == run_id]
    return any(
        name in (entry.get("artifact_hash"), entry.get("model_version"), entry.get("model_version").rpartition("/")[0])
        for entry in commits
    )
