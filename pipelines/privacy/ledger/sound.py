"""Whether the chain holds: every line is what it was when it was written, and none is missing.

Checked in full when a process first spends, and from there on what came since. `verification` does more: it works out
every total anew.
"""

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, Row

from pipelines.privacy.ledger import store
from pipelines.privacy.ledger.anchors import Anchor, Notary
from pipelines.privacy.ledger.chain import GENESIS, Entry, digest, parse


@dataclass(frozen=True)
class Flaw:
    seq: int  # the first that is wrong, or that should be there
    what: str


@dataclass
class Mark:
    """Up to where the chain was found whole."""

    seq: int = 0
    hash: str = GENESIS
    time: str = ""


def link_flaw(row: Row[Any], mark: Mark) -> Flaw | None:
    """What is wrong with the line after `mark`."""
    expected = mark.seq + 1
    if row.seq != expected:
        return Flaw(expected, f"entry {expected} is missing")
    if digest(row.body) != row.hash:
        return Flaw(expected, "its text is not what its hash was made of: it was edited")
    entry = _parsed(row)
    if entry is None:
        return Flaw(expected, "it can't be read")
    if entry.prev_hash != mark.hash or row.prev_hash != mark.hash:
        return Flaw(expected, "it does not follow from the entry before: one of the two was replaced")
    if (entry.seq, entry.body) != (row.seq, row.body) or _columns(entry) != _stored(row):
        return Flaw(expected, "the columns of its row disagree with its text")
    if entry.time < mark.time and not (entry.type == "correction" and entry.get("kind") == "clock"):
        return Flaw(expected, f"its time {entry.time} is before that of the entry before, {mark.time}")
    return None


def chain_flaw(connection: Connection, mark: Mark) -> Flaw | None:
    """The first flaw after `mark`, which is moved to the last entry that is whole."""
    if mark.seq and not store.holds(connection, mark.seq, mark.hash):
        return Flaw(mark.seq, "it was whole before and is another now, or gone")
    for row in store.rows(connection, after=mark.seq):
        flaw = link_flaw(row, mark)
        if flaw:
            return flaw
        mark.seq, mark.hash, mark.time = row.seq, row.hash, parse(row.body, row.hash).time
    return None


def anchor_flaw(connection: Connection, kept: list[Anchor]) -> Flaw | None:
    """A signed head that is not in the ledger any more.

    The copies must have been read before the transaction began, or an anchor newer than what it sees looks like a cut.
    """
    count = store.head(connection)[0]
    hashes = store.hashes(connection, {int(anchor.count) for anchor in kept})
    for anchor in kept:
        seq = int(anchor.count)
        if seq > count:
            what = f"the ledger ends at {count} but had {seq} entries on {anchor.time}: its end was cut off"
            return Flaw(count + 1, what)
        if hashes.get(seq) != anchor.head:
            return Flaw(seq, f"it is not the one that was signed on {anchor.time}")
    return None


def copies_flaw(connection: Connection, notary: Notary, kept: list[Anchor]) -> Flaw | None:
    """An anchor whose copy is gone, or all of them with the key: such a file would not show a cut.

    The newest may lack it: its writer was stopped between the two, and whoever anchors next mends that.
    """
    anchors = store.find(connection, type="anchor")
    ours = [entry for entry in anchors if entry.get("anchor_key") == notary.key_name]
    if anchors and not (ours and kept):
        what = f"{notary.file} has no copy" if ours else "no anchor in the ledger is signed with the key of this place"
        return Flaw(
            anchors[-1].seq,
            f"{what}: with key or copies gone, a ledger written anew would look the same. Put them back, or verify "
            "where they are; flockcast budget verify --without-anchors checks the rest",
        )
    copied = {anchor.head for anchor in kept}
    lost = [entry for entry in ours[:-1] if entry.hash not in copied]
    return Flaw(lost[0].seq, f"{notary.file} lacks the copy of this anchor: copies were lost") if lost else None


def said_wrongly(entry: Entry, notary: Notary) -> str:
    """What an anchor says of its place that is not so; with another's key, all but the signature."""
    signed = Anchor(**{field.name: entry.fields[f"anchor_{field.name}"] for field in fields(Anchor)})
    if (signed.count, signed.head) != (str(entry.seq - 1), entry.prev_hash):
        return "it signs another head than the one before it"
    if signed.key == notary.key_name and not notary.signed(signed):
        return "its signature was not made with the key that it names"
    return ""


def _parsed(row: Row[Any]) -> Entry | None:
    try:
        return parse(row.body, row.hash)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _columns(entry: Entry) -> tuple[str, ...]:
    return (entry.type, entry.get("tenant"), entry.get("dataset_id"), entry.get("run_id"))


def _stored(row: Row[Any]) -> tuple[str, ...]:
    return (row.type, row.tenant, row.data_set, row.run_id)
