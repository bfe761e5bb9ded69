"""Whether a run may spend: the check and the entry, in one transaction."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pipelines.errors import LedgerError
from pipelines.privacy import accounting
from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.account import Account, Run
from pipelines.privacy.ledger.book import Book, owned, written
from pipelines.privacy.ledger.case import Case, Refusal
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.composition import chosen, compose
from pipelines.privacy.ledger.records import Charge, Policy, spelled
from pipelines.privacy.ledger.refusals import first_refusal

Answer = Entry | tuple[Refusal, Entry]


@dataclass(frozen=True)
class Nonprivate:
    run_id: str
    tenant: str
    data_set: str
    sources: tuple[str, ...]
    config_hash: str
    actor: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", spelled(self.sources))


def admit(book: Book, charge: Charge, *, actor: str, for_tests: bool) -> Answer:
    """The reservation, or the refusal and its entry."""
    account = book.account(charge.tenant, charge.data_set)
    before = book.run(charge.run_id)
    if before is not None:
        return _repeated(before, charge)
    case = Case(charge, actor, account, _elsewhere(book, charge, account), book.clock, for_tests)
    refusal = behind(book) if book.clock_is_behind else first_refusal(case)
    asked = {**charge.to_fields(), "actor": actor, **({"mode": "test"} if for_tests else {})}
    if refusal:
        return refusal, book.append("refuse", {**asked, **refusal.to_fields()})
    if charge.data_set_version not in account.versions:
        book.append("dataset_version", _version(charge, actor))
    return book.append("reserve", {**asked, **owned(), **_costs(charge, account)}, step="reserve")


def admit_nonprivate(book: Book, asked: Nonprivate) -> Answer | None:
    """None where no policy protects the data; its files may be protected under another name."""
    policies = _protectors(book, asked)
    if not policies:
        return None
    fields = {name: value for name, value in asdict(asked).items() if name not in ("data_set", "sources")}
    fields |= {"dataset_id": asked.data_set, "sources": sorted(asked.sources), "mechanism": {"kind": "none"}}
    fields |= {"blocks": [], "unit": "none", "serving": "raw_input_internal"}
    before = book.step(asked.run_id, "reserve")
    if before is not None:
        if any(before.get(name) != value for name, value in fields.items() if name != "actor"):
            raise LedgerError(
                f"run {asked.run_id} was reserved before for something else; another run needs another id"
            )
        return before
    closed = next((policy for policy in policies if not policy.allow_nonprivate_internal), None)
    if closed is None:
        return book.append("reserve", {**fields, **owned()}, step="reserve")
    refusal = Refusal(
        "nonprivate",
        f"data set {closed.data_set!r} is protected (budget epsilon {closed.epsilon:g}, delta {closed.delta:g}, unit "
        f"{closed.unit}) and its owner allows no run without privacy: set mechanism = 'release' or 'dp_sgd' in "
        "[privacy], or have the owner allow such runs inside the house (flockcast budget grant ... "
        f"--allow-nonprivate-internal){_typo(asked, closed)}",
    )
    return refusal, book.append("refuse", {**fields, **refusal.to_fields()})


def _typo(asked: Nonprivate, closed: Policy) -> str:
    if (asked.tenant, asked.data_set) == (closed.tenant, closed.data_set):
        return ""
    return (
        f". The files of {asked.data_set!r} were named as {closed.data_set!r} before. If that was a mistake and "
        "nothing was read, give them a budget of their own that allows such runs: "
        f"flockcast budget grant {asked.data_set} --unit {closed.unit} --epsilon {closed.epsilon:g} "
        "--reason 'named by mistake' --allow-nonprivate-internal"
    )


def foresee(account: Account, charge: Charge, *, actor: str, moment: datetime, for_tests: bool) -> None:
    """Fill the caches with what the answer to `charge` will ask for; it is not the answer yet."""
    if charge.run_id in account.runs:
        return
    if not first_refusal(Case(charge, actor, account, {}, moment, for_tests)):
        _costs(charge, account)


def untrusted(flaw: Any) -> Refusal:
    """Of a ledger that was tampered with; no line is added to it, which would only bury the evidence."""
    return Refusal(
        "ledger_broken",
        f"the ledger does not verify: entry {flaw.seq}: {flaw.what}; nothing may be spent until its keeper has put the "
        "database back as it was (flockcast budget verify says more)",
        {"seq": str(flaw.seq)},
    )


def behind(book: Book) -> Refusal:
    clock, newest = written(book.clock), book.newest
    return Refusal(
        "clock",
        f"this machine's clock says {clock}, but the ledger's newest entry is of {newest}; set the clock right. "
        "If it is right, and an earlier one ran ahead: flockcast budget correct-clock --reason ... --approver ...",
        {"newest": newest},
    )


def _costs(charge: Charge, account: Account) -> dict[str, Any]:
    policy = account.policies[charge.unit][0]
    after = chosen(account.histories(charge.unit), charge.blocks, more=(charge.mechanism,))
    return {**own_cost(charge, policy), "composed_after": [row.to_fields() for row in compose(after, policy)]}


def own_cost(charge: Charge, policy: Policy) -> dict[str, Any]:
    return {
        "epsilon": str(cost.epsilon([charge.mechanism], charge.delta)),
        "renyi": str(cost.divergence(charge.mechanism, policy.order)),
        "order": repr(policy.order),
        "cap": str(cost.cap(policy)),
        "accountant": accounting.ACCOUNTANT,
    }


def _repeated(before: Run, charge: Charge) -> Entry:
    """The reservation that stands for the same request already."""
    asked = charge.to_fields()
    other = [name for name, value in asked.items() if before.entry.fields.get(name) != value]
    if other:
        raise LedgerError(
            f"run {charge.run_id} was reserved before for something else ({', '.join(other)} differ); "
            "another run needs another id"
        )
    if before.released:
        raise LedgerError(f"the reservation of run {charge.run_id} was given back; reserve under a new id")
    return before.entry


def _version(charge: Charge, actor: str) -> dict[str, Any]:
    return {
        "tenant": charge.tenant,
        "dataset_id": charge.data_set,
        "dataset_version": charge.data_set_version,
        "sources": sorted(charge.sources),
        "actor": actor,
    }


def _elsewhere(book: Book, charge: Charge, account: Account) -> dict[str, str]:
    """Of files that this data set had not read before: under which name another had."""
    known = {source for sources in account.versions.values() for source in sources}
    fresh = set(charge.sources) - known
    if not fresh:
        return {}
    here, admitted = (charge.tenant, charge.data_set), book.named().admitted
    there = {source: admitted.get(source, set()) - {here} for source in fresh}
    return {source: "/".join(min(places)) for source, places in there.items() if places}


def _protectors(book: Book, asked: Nonprivate) -> list[Policy]:
    """The policies of the data set, and of those that its files are known to belong to.

    A file of a request that was refused binds it only while the data set that is asked for has no budget of its own: if
    it was named with the wrong data set by mistake, its owner grants it one that says what is allowed.
    """
    here, named = (asked.tenant, asked.data_set), book.named()
    owners = {here}.union(*(named.admitted.get(source, set()) for source in asked.sources))
    if here not in named.protected:
        owners = owners.union(*(named.refused.get(source, set()) for source in asked.sources))
    return [policy for owner in sorted(owners) for policy, _ in book.account(*owner).policies.values()]
