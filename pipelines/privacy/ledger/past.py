"""What a block has seen, as a multiset of mechanisms.

Blocks that the same runs read have equal pasts, so what a past costs is worked out once, not block by block.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipelines.privacy.mechanisms import Mechanism


@dataclass(frozen=True)
class Past:
    """Equal, and of equal hash, whatever the order in which things were done."""

    counts: frozenset[tuple[Mechanism, int]] = frozenset()

    def __iter__(self) -> Iterator[Mechanism]:
        """Every mechanism, as often as it was done."""
        for mechanism, times in self.counts:
            for _ in range(times):
                yield mechanism

    def __bool__(self) -> bool:
        return bool(self.counts)

    def changed(self, *, less: Iterable[Mechanism] = (), more: Iterable[Mechanism] = ()) -> "Past":
        """With `more` done, and `less`, which it holds, taken off."""
        counts = dict(self.counts)
        for mechanism in more:
            counts[mechanism] = counts.get(mechanism, 0) + 1
        for mechanism in less:
            counts[mechanism] -= 1
        return Past(frozenset((mechanism, times) for mechanism, times in counts.items() if times))


UNTOUCHED = Past()
