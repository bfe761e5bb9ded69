"""What the entries of one data set add up to: its policies, its runs, and what each run counts for.

A reservation counts in full until its run commits. A run that stopped counts for the steps it had announced, over all
its attempts; an attempt that announced none counts for the whole reservation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pipelines.privacy.ledger.blocks import unfold
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.owner import Owner
from pipelines.privacy.ledger.past import UNTOUCHED, Past
from pipelines.privacy.ledger.records import Policy
from pipelines.privacy.mechanisms import Mechanism, PrivateTraining, from_record


@dataclass
class Attempt:
    owner: Owner
    entry: Entry
    bound: int | None = None  # "will do up to this step", of this attempt alone


@dataclass
class Run:
    """`reserved` is None of a run without privacy, which a policy may allow inside the house."""

    entry: Entry
    reserved: Mechanism | None
    blocks: tuple[str, ...]
    owner: Owner
    attempts: list[Attempt] = field(default_factory=list)
    commit: Entry | None = None
    released: Entry | None = None
    committed: Mechanism | None = None
    added: list[Mechanism] = field(default_factory=list)  # by corrections

    @property
    def run_id(self) -> str:
        return str(self.entry.fields["run_id"])

    @property
    def unit(self) -> str:
        return str(self.entry.fields["unit"])

    @property
    def is_open(self) -> bool:
        return self.commit is None and self.released is None

    @property
    def state(self) -> str:
        if self.released:
            return "released"
        if self.commit:
            return "committed"
        return "started" if self.attempts else "reserved"

    @property
    def counted(self) -> tuple[Mechanism, ...]:
        """What it counts for now."""
        if self.reserved is None or self.released:
            return tuple(self.added)
        return (self.committed or self.reserved, *self.added)

    @property
    def attempted(self) -> int:
        """Steps of all attempts at most; the reservation's where an attempt announced none."""
        assert isinstance(self.reserved, PrivateTraining)
        bounds = [attempt.bound for attempt in self.attempts]
        if not bounds or None in bounds:
            return self.reserved.steps
        return sum(bound for bound in bounds if bound is not None)

    @property
    def left(self) -> int:
        """Steps of the reservation that no attempt may have taken; none of what is drawn all at once."""
        if self.reserved is None:
            return 1  # a run without privacy spends nothing that could run out
        if not isinstance(self.reserved, PrivateTraining):
            return 0
        return max(self.reserved.steps - self.attempted, 0)

    @property
    def earlier(self) -> int:
        """Steps of the attempts before the present one."""
        assert isinstance(self.reserved, PrivateTraining)
        bounds = [attempt.bound for attempt in self.attempts[:-1]]
        return sum(self.reserved.steps if bound is None else bound for bound in bounds)

    @property
    def worst(self) -> Mechanism | None:
        """What it may have cost if it ended now."""
        if not isinstance(self.reserved, PrivateTraining):
            return self.reserved
        return replace(self.reserved, steps=self.attempted)


@dataclass
class Account:
    policies: dict[str, tuple[Policy, Entry]] = field(default_factory=dict)  # by unit
    runs: dict[str, Run] = field(default_factory=dict)
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)  # sources of each data-set version
    pasts: dict[str, dict[str, Past]] = field(default_factory=dict)  # by unit and block, of what counts

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Account":
        account = cls()
        for entry in entries:
            account.add(entry)
        return account

    def add(self, entry: Entry) -> None:
        """Take in the next entry of this data set."""
        fields = entry.fields
        if entry.type == "policy":
            self.policies[fields["unit"]] = (Policy.from_fields(fields), entry)
        elif entry.type == "dataset_version":
            self.versions[fields["dataset_version"]] = tuple(fields["sources"])
        elif entry.type == "reserve":
            self.runs[fields["run_id"]] = run = _run(entry)
            self._recount(run, ())
        elif fields.get("run_id") in self.runs:
            run = self.runs[fields["run_id"]]
            before = run.counted
            _take(run, entry)
            self._recount(run, before)

    def histories(self, unit: str) -> Mapping[str, Past]:
        """All that counts on each block."""
        return self.pasts.get(unit, {})

    def _recount(self, run: Run, before: tuple[Mechanism, ...]) -> None:
        """Keep the pasts right of the blocks that `run` reads; it counted for `before` until now."""
        if run.counted == before:
            return
        there = self.pasts.setdefault(run.unit, {})
        after: dict[Past, Past] = {}
        for block in run.blocks:
            past = there.pop(block, UNTOUCHED)
            if past not in after:
                after[past] = past.changed(less=before, more=run.counted)
            if after[past]:
                there[block] = after[past]


def _run(entry: Entry) -> Run:
    record = entry.fields["mechanism"]
    reserved = None if record["kind"] == "none" else from_record(record)
    return Run(entry, reserved, unfold(entry.fields["blocks"]), Owner(**entry.fields["owner"]))


def _take(run: Run, entry: Entry) -> None:
    fields = entry.fields
    if entry.type == "start":
        run.attempts.append(Attempt(Owner(**fields["owner"]), entry))
    elif entry.type == "progress":
        run.attempts[-1].bound = int(fields["steps"])
    elif entry.type == "commit":
        run.commit = entry
        run.committed = run.reserved and from_record(fields["mechanism"])
    elif entry.type == "release":
        run.released = entry
    elif entry.type == "correction":
        run.added.append(from_record(fields["mechanism"]))
