"""An audit in the ledger: its design before the training, its result after it."""

import secrets
from dataclasses import dataclass

from pipelines.privacy.audit.design import AnyDesign, Design, Outcome
from pipelines.privacy.ledger.audits import AuditDesign, AuditResult
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.spec import Spec

NOTHING = "nothing is claimed"


@dataclass(frozen=True)
class Audited:
    """Whose budget an audit is about, and under which run the ledger has it."""

    ledger: Ledger
    run_id: str
    tenant: str
    data_set: str
    claimed: str  # the claim's sentence, or that there is none

    def design(self, design: AnyDesign) -> None:
        """Raises LedgerError where the run has begun."""
        guesses = design.guesses if isinstance(design, Design) else 2 * design.trials
        self.ledger.design_audit(
            AuditDesign(
                run_id=self.run_id,
                tenant=self.tenant,
                data_set=self.data_set,
                kind=design.kind,
                unit=design.unit,
                canaries=design.canaries if isinstance(design, Design) else design.trials,
                guesses=guesses,
                delta=design.delta,
                p=design.p,
                tries=design.tries,
                score=design.score,
                seed_hash=design.seed_hash,
                canaries_hash=design.canary_hash,
                claimed=self.claimed,
            )
        )

    def result(self, outcome: Outcome) -> None:
        """Raises LedgerError for a result without its design."""
        self.ledger.audit(
            self.run_id,
            outcome.design.kind,
            AuditResult(
                correct=outcome.correct,
                lower_bound=outcome.bound,
                claimed_epsilon=outcome.claim,
                verdict=outcome.verdict,
            ),
        )


def audited(spec: Spec, *, claimed: str = NOTHING) -> Audited:
    """A run of its own name, so that no other can be taken for it."""
    tenant = spec.privacy.tenant if spec.privacy else "default"
    data_set = (spec.privacy.data_set if spec.privacy else None) or spec.name
    run_id = f"audit-{spec.name}-{secrets.token_hex(6)}"
    return Audited(Ledger.open(), run_id, tenant, data_set, claimed)
