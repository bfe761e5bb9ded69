"""What a private release would cost, asked without spending anything or reading a row."""

from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.release.charging import Draw
from pipelines.privacy.release.counting import require_columns
from pipelines.privacy.release.domain import domain_of
from pipelines.privacy.release.drawing import variances
from pipelines.privacy.release.ingest import next_draw
from pipelines.privacy.release.periods import told
from pipelines.privacy.release.stored import kept_for
from pipelines.privacy.remedy import objection, sufficient
from pipelines.privacy.spec import ReleasePrivacy
from pipelines.spec import Spec


def quote(spec: Spec) -> str | None:
    """What ingesting `spec` would draw and charge, one line a thing; None where it would draw nothing.

    Raises SpecError, DataError of its files, StoreError as the ingest step does.
    """
    if not isinstance(spec.privacy, ReleasePrivacy):
        return None
    domain = domain_of(spec, spec.privacy)
    kept = kept_for(domain)
    if not kept.missing:
        return None
    draw = next_draw(domain, kept)
    require_columns(domain, draw.sources)
    return _lines(draw)


def _lines(draw: Draw) -> str:
    domain, ledger, charge = draw.domain, Ledger.open(), draw.charge()
    refused = objection(ledger, charge)
    noise = {name: f"{variance**0.5:.3g} in {name}" for name, variance in variances(domain, draw.mechanism).items()}
    released = int(domain.mask[domain.steps_in(list(draw.periods))].sum())
    needed = sufficient(draw.mechanism, delta=charge.delta)
    order = f" of order {needed.order:g}" if needed.order else ""
    budget = (
        f"epsilon {needed.epsilon:g}, delta {charge.delta:g}, unit {charge.unit} (enforced by a Rényi filter{order})"
    )
    lines = [
        (
            "release",
            f"{released:,} cells of {told(list(draw.periods))}, to be drawn once; nothing is spent now",
        ),
        ("promise", draw.claim.sentence),
        ("noise", f"standard deviation {', '.join(noise.values())}"),
        ("cost", f"on each period, of a budget of its own: one of {budget} admits it once"),
        (
            "budget",
            refused or f"that of data set {charge.data_set!r} admits it: `flockcast ingest` draws and charges",
        ),
    ]
    return "\n".join(f"{name:<12}{text}" for name, text in lines)
