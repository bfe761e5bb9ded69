"""Whether the ledger is whole and adds up: the chain, the anchors, and every total worked out anew."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pipelines.errors import LedgerError
from pipelines.privacy import accounting
from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.account import Account
from pipelines.privacy.ledger.anchors import Anchor, Notary
from pipelines.privacy.ledger.chain import Entry, parse
from pipelines.privacy.ledger.composition import chosen, compose
from pipelines.privacy.ledger.course import out_of_course
from pipelines.privacy.ledger.sound import Flaw, Mark, anchor_flaw, copies_flaw, link_flaw, said_wrongly
from pipelines.privacy.ledger.store import Store, rows
from pipelines.privacy.mechanisms import from_record

CLOSE = Decimal("1e-6")  # relative: another machine's floating point, and no more


@dataclass(frozen=True)
class Verification:
    count: int  # entries that are whole
    head: str  # hash of the last of them
    anchors: int  # signed copies outside the database that were found in it
    flaw: Flaw | None
    overruns: tuple[int, ...] = ()  # commits of more than was reserved: true, and over what was allowed

    @property
    def holds(self) -> bool:
        return self.flaw is None

    @property
    def sentence(self) -> str:
        if self.flaw:
            return f"the ledger does not verify: entry {self.flaw.seq}: {self.flaw.what}"
        told = f"the ledger verifies: {self.count:,} entries, {self.anchors:,} signed copies, head {self.head}"
        if self.count and not self.anchors:
            return f"{told}; without a signed copy outside the database, one written anew from its beginning would too"
        return told


def verify(store: Store, notary: Notary, *, for_tests: bool, without_anchors: bool = False) -> Verification:
    """The first flaw, if there is one, by the number of its entry.

    `without_anchors`, key and copies are not asked for: what was written anew from the beginning then passes.
    """
    kept: list[Anchor] = []
    unsigned = None
    try:
        if not without_anchors:
            kept = notary.kept().anchors  # before the transaction: see `anchor_flaw`
    except LedgerError as error:
        unsigned = str(error)
    replay = Replay(for_tests, notary)
    with store.reading() as connection:
        flaw = replay.first_flaw(rows(connection))
        if not (flaw or without_anchors):
            flaw = anchor_flaw(connection, kept)
            flaw = flaw or (Flaw(replay.mark.seq, unsigned) if unsigned else copies_flaw(connection, notary, kept))
    return Verification(replay.mark.seq, replay.mark.hash, len(kept), flaw, tuple(replay.overruns))


@dataclass
class Replay:
    """Reads the ledger from its beginning and keeps its own accounts, to compare with what was written."""

    for_tests: bool
    notary: Notary
    mark: Mark = field(default_factory=Mark)
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    overruns: list[int] = field(default_factory=list)

    def first_flaw(self, stored: Iterator[Any]) -> Flaw | None:
        for row in stored:
            flaw = link_flaw(row, self.mark)
            if flaw:
                return flaw
            entry = parse(row.body, row.hash)
            wrong = self._wrong(entry)
            if wrong:
                return Flaw(entry.seq, wrong)
            self.mark.seq, self.mark.hash, self.mark.time = entry.seq, entry.hash, entry.time
        return None

    def _wrong(self, entry: Entry) -> str:
        """What of this entry contradicts those before it."""
        account = self.accounts.setdefault((entry.get("tenant"), entry.get("dataset_id")), Account())
        try:
            if wrong := out_of_course(entry, account):
                return wrong
            account.add(entry)
            if entry.type == "reserve" and not self.for_tests and entry.get("mode") == "test":
                return "it was made in test mode, which is no real spend"
            if entry.type == "anchor":
                return said_wrongly(entry, self.notary)
            if "composed_after" in entry.fields:
                return self._totals(entry, account)
            if entry.type == "policy":
                return _differs("cap", entry.fields["cap"], cost.cap(account.policies[entry.fields["unit"]][0]))
        except (KeyError, ValueError, IndexError, LedgerError) as error:
            return f"it makes no sense where it stands: {error!r}"
        return ""

    def _totals(self, entry: Entry, account: Account) -> str:
        fields = entry.fields
        policy, _ = account.policies[fields["unit"]]
        run = account.runs[fields["run_id"]]
        own = cost.divergence(from_record(fields["mechanism"]), policy.order)
        wrong = _differs("renyi", fields["renyi"], own) or _differs("cap", fields["cap"], cost.cap(policy))
        if not wrong and fields["accountant"] == accounting.ACCOUNTANT:
            alone = cost.epsilon([from_record(fields["mechanism"])], float(fields["delta"]))
            wrong = _differs("epsilon", fields["epsilon"], alone)
        if wrong:
            return wrong
        after = compose(chosen(account.histories(run.unit), run.blocks), policy)
        if [row.blocks for row in after] != [row["blocks"] for row in fields["composed_after"]]:
            return "its totals are of other blocks than its runs read"
        for found, told in zip(after, fields["composed_after"], strict=True):
            if wrong := _differs(f"renyi of {found.blocks}", told["renyi"], found.divergence) or _differs(
                f"epsilon of {found.blocks}", told["epsilon"], found.epsilon
            ):
                return wrong
            if entry.type == "reserve" and Decimal(told["renyi"]) > Decimal(fields["cap"]):
                return f"it was admitted although blocks {found.blocks} had no budget left for it"
        if "overrun" in fields:
            self.overruns.append(entry.seq)
        return ""


def _differs(what: str, told: str, found: Decimal) -> str:
    if not found.is_finite() or abs(Decimal(told) - found) > CLOSE * max(found.copy_abs(), Decimal(1)):
        return f"its {what} is {told}, but the mechanisms add up to {found}"
    return ""
