"""The privacy ledger: grant a budget, reserve before reading, announce before doing, commit what was done.

    entry = ledger.reserve(charge)             the worst case is spent from now on, or BudgetRefused
    ledger.start(run)                          before the first byte is read
    ledger.progress(run, 400)                  before steps up to 400 are taken
    ledger.commit(run, artifact_hash=...)      after the artefact is written, before it gets its name

Whatever stops in between counts for what it had announced, never for less. Every step may be repeated: the same request
gives the same entry.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy.exc import IntegrityError, OperationalError

from pipelines import settings
from pipelines.errors import BudgetRefused, LedgerError
from pipelines.privacy.ledger import admission, audits, lifecycle, reaper, standing, store, verification
from pipelines.privacy.ledger.account import Account
from pipelines.privacy.ledger.accounts import Accounts
from pipelines.privacy.ledger.anchors import Notary
from pipelines.privacy.ledger.audits import AuditDesign, AuditResult
from pipelines.privacy.ledger.book import Book, Clock, now
from pipelines.privacy.ledger.case import Refusal
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.grants import grant
from pipelines.privacy.ledger.owner import user
from pipelines.privacy.ledger.records import Charge, Policy
from pipelines.privacy.ledger.sound import Mark, anchor_flaw, chain_flaw
from pipelines.privacy.mechanisms import Mechanism

ATTEMPTS = 5  # against a head that moved, or a database that was busy for longer than the store waits
Found = TypeVar("Found")


class Ledger:
    def __init__(self, url: str, *, for_tests: bool, clock: Clock = now) -> None:
        self.store = store.Store(url)
        self.notary = Notary.of(self.store.name)
        self.for_tests = for_tests
        self._clock = clock
        self._mark, self._copies = Mark(), 0  # what this process has found whole
        self._accounts = Accounts()

    @classmethod
    def open(cls, url: str | None = None, *, clock: Clock = now) -> "Ledger":
        """The ledger at `url`, or the environment's, or the one at home; made if there is none."""
        return cls(settings.ledger_url(url), for_tests=settings.ledger_is_for_tests(), clock=clock)

    def grant(
        self, policy: Policy, *, actor: str, reason: str, approver: str | None = None, separately: bool = False
    ) -> Entry:
        """Give every block of a data set a budget, or change it.

        Raises PolicyError for one that makes no sense, and for a second unit unless `separately`.
        """

        def write(book: Book) -> Entry:
            return grant(book, policy, actor=actor, reason=reason, approver=approver, separately=separately)

        return self._write(write, trust=True)

    def reserve(self, charge: Charge, *, actor: str | None = None) -> Entry:
        """Spend the worst case of `charge`. Raises BudgetRefused: the refusal is an entry, and nothing is spent."""
        who = actor or user()
        self._prepare(charge, who)
        answer = self._write(
            lambda book: admission.admit(book, charge, actor=who, for_tests=self.for_tests), trust=True, timely=False
        )
        return _admitted(answer)

    def reserve_nonprivate(
        self,
        *,
        run_id: str,
        tenant: str,
        data_set: str,
        sources: tuple[str, ...],
        config_hash: str,
        actor: str | None = None,
    ) -> Entry | None:
        """Ask leave for a run without privacy; None if nothing protects these data.

        Raises BudgetRefused where a policy does, unless it allows such runs inside the house; what they make must not
        leave it.
        """
        who = actor or user()
        asked = admission.Nonprivate(run_id, tenant, data_set, sources, config_hash, who)
        answer = self._write(lambda book: admission.admit_nonprivate(book, asked), trust=True)
        return None if answer is None else _admitted(answer)

    def start(self, run_id: str, *, sources: tuple[str, ...] | None = None) -> Entry:
        """Say that reading begins now; again, to begin anew after a stop, with the steps that were never announced.

        A second start after steps were announced is a second attempt, whose steps count beside the first's; it is
        refused while another process is at work, and where nothing of the reservation is left.

        `sources`, the sha256 of the files as they are now, must be those that were reserved for.
        """
        return self._write(lambda book: lifecycle.start(book, run_id, sources=sources), trust=True)

    def progress(self, run_id: str, steps: int) -> Entry:
        """Announce, before doing them, that this attempt will do up to `steps` steps counted from its own beginning.

        Raises BudgetRefused if all attempts together would take more than was reserved.
        """
        return _admitted(self._write(lambda book: lifecycle.progress(book, run_id, steps)))

    def commit(self, run_id: str, *, steps: int | None = None, artifact_hash: str, model_version: str = "") -> Entry:
        """Settle what was spent: what had been announced, and no less than `steps`, of all attempts together."""
        made = {"artifact_hash": artifact_hash, "model_version": model_version}
        return self._write(lambda book: lifecycle.commit(book, run_id, steps=steps, made=made))

    def release(self, run_id: str, *, actor: str | None = None) -> Entry:
        """Give a reservation back that was never started. Raises LedgerError for one that was."""
        return self._write(lambda book: lifecycle.release(book, run_id, actor=actor or user()))

    def reap(self, *, gone: tuple[str, ...] = ()) -> list[Entry]:
        """Settle runs whose process is gone at what they may have spent; a person vouches that hosts are `gone`."""
        if not reaper.dead(Account.of(self.entries()), gone):
            return []
        return self._write(lambda book: reaper.reap(book, gone), trust=True, timely=False)

    def correct(self, run_id: str, mechanism: Mechanism, *, actor: str, reason: str) -> Entry:
        """Add to what a run counts for. Nothing can be taken off."""
        return self._write(lambda book: lifecycle.correct(book, run_id, mechanism, actor=actor, reason=reason))

    def correct_clock(self, *, actor: str, reason: str, approver: str) -> Entry:
        """Go on at the present time after a clock that ran ahead has dated entries into the future."""
        return self._write(lambda book: lifecycle.correct_clock(book, actor=actor, reason=reason, approver=approver))

    def design_audit(self, planned: AuditDesign, *, actor: str | None = None) -> Entry:
        """Fix an audit before its run starts. Raises LedgerError afterwards, and for a second one of its kind."""
        who = actor or user()
        return self._write(lambda book: audits.design(book, planned, actor=who), trust=True)

    def audit(self, run_id: str, kind: str, found: AuditResult, *, actor: str | None = None) -> Entry:
        """Write down what an audit found. Raises LedgerError for one that was not designed beforehand."""
        who = actor or user()
        return self._write(lambda book: audits.result(book, run_id, kind, found, actor=who))

    def anchor(self, *, actor: str | None = None) -> Entry:
        """Sign the head now."""
        return self._write(lambda book: book.anchor(actor or user()))

    def entries(self, **columns: str) -> list[Entry]:
        """Entries with these values of type, tenant, data_set or run_id, oldest first."""
        with self.store.reading() as connection:
            return store.find(connection, **columns)

    def verify(self, *, without_anchors: bool = False) -> verification.Verification:
        """Work everything out anew: chain, anchors, and every total from the mechanisms."""
        return verification.verify(self.store, self.notary, for_tests=self.for_tests, without_anchors=without_anchors)

    def standing(
        self, *, tenant: str | None = None, data_set: str | None = None, blocks: str | None = None
    ) -> list[standing.Standing]:
        """Budgets, with what is spent and left of each block."""
        return standing.standings(self.entries(), tenant=tenant, data_set=data_set, blocks=blocks)

    def _prepare(self, charge: Charge, actor: str) -> None:
        """Before the book is taken, since others wait while it is: settle dead runs, work out the expensive figures."""
        try:
            account = self._account(charge)
            left_over = reaper.dead(account)
        except (LedgerError, KeyError, ValueError, TypeError):
            return  # the book is broken, as the check of the whole will say
        if left_over:
            self.reap()
            account = self._account(charge)
        admission.foresee(account, charge, actor=actor, moment=self._clock(), for_tests=self.for_tests)

    def _account(self, charge: Charge) -> Account:
        with self.store.reading() as connection:
            return self._accounts.at(connection, charge.tenant, charge.data_set)

    def _write(self, act: Callable[[Book], Found], *, trust: bool = False, timely: bool | None = None) -> Found:
        """Do `act` in one transaction; with `trust` only in a ledger that is whole, `timely` if the clock is right."""
        for attempt in range(ATTEMPTS):
            try:
                return self._written(act, trust=trust, timely=trust if timely is None else timely)
            except (IntegrityError, OperationalError) as error:
                if attempt == ATTEMPTS - 1:
                    raise LedgerError(f"the ledger {self.store.name} can't be written: {error.orig}") from error
        raise AssertionError("unreachable")

    def _written(self, act: Callable[[Book], Found], *, trust: bool, timely: bool) -> Found:
        with self._book(trust=trust) as book:
            if timely and book.clock_is_behind:
                raise _refused(admission.behind(book))
            answer = act(book)
        for anchor in book.outside:
            self.notary.keep(anchor)
        return answer

    @contextmanager
    def _book(self, *, trust: bool) -> Iterator[Book]:
        kept = self.notary.kept(after=self._copies) if trust else None
        with self.store.writing() as connection:
            book = Book(connection, self.notary, self._clock(), [], self._accounts)
            if kept is not None:
                flaw = chain_flaw(connection, self._mark) or anchor_flaw(connection, kept.anchors)
                if flaw:
                    raise _refused(admission.untrusted(flaw))
                self._copies = kept.end
            yield book


def _admitted(answer: Entry | tuple[Refusal, Entry]) -> Entry:
    if isinstance(answer, Entry):
        return answer
    refusal, entry = answer
    raise BudgetRefused(refusal.message, refusal=refusal.to_fields(), entry=entry)


def _refused(refusal: Refusal) -> BudgetRefused:
    return BudgetRefused(refusal.message, refusal=refusal.to_fields())
