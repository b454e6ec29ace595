"""By which bins answers are counted for the judge of canaries: at most ten, the same in both versions it compares.

Bins come from a version's training profile, or for classes from its signature; their key is a digest of the edges, so
equal bins have equal keys whoever counts by them. A canary counts by the stable version's bins too (`Grid`): by its
own, a model that always answers the same would look like its own training. Called by `counters` and `process`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fairlead.contract.base import digest_of, short
from fairlead.contract.jobs import PredictionCounts
from fairlead.contract.training import Task
from fairlead_runtime.profile import PREDICTION, SCORE, CategoricalColumn, ModelProfile, NumericColumn
from fairlead_runtime.signature import Signature

MAX_BINS = 10
MAX_CELLS = 2 * MAX_BINS - 1  # of two versions' bins together
TENTHS = tuple(i / MAX_BINS for i in range(1, MAX_BINS))


@dataclass(frozen=True)
class Bins:
    """Inner edges of a number, bin i below edge i; or classes, each a bin, and one for all others."""

    edges: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What names these bins and no other."""
        return short(digest_of({name: list(values) for name, values in asdict(self).items()}), 8)

    @property
    def size(self) -> int:
        """How many bins there are."""
        return (len(self.edges) or len(self.classes)) + 1


def bins_of(signature: Signature, profile: ModelProfile | None) -> Bins | None:
    """Return a version's own bins; None for a number whose usual values nothing tells.

    A probability of two classes: deciles of the profile's, or tenths. More classes: the commonest nine.
    """
    columns = profile.predictions.columns if profile else {}
    if signature.task == Task.REGRESSION:
        edges = deciles(columns.get(PREDICTION))
        return Bins(edges) if edges else None
    if len(signature.classes) == 2 and signature.probability_output:
        return Bins(deciles(columns.get(SCORE)) or TENTHS)
    known = columns.get(PREDICTION)
    classes = known.categories if isinstance(known, CategoricalColumn) else signature.classes
    return Bins(classes=tuple(text.lower() for text in classes[: MAX_BINS - 1])) if len(classes) > 1 else None


def deciles(column: Any) -> tuple[float, ...]:
    """Return at most nine edges that cut a profile's column into about equal parts."""
    if not isinstance(column, NumericColumn):
        return ()
    chosen: list[float] = []
    share, seen = max(1, sum(column.counts)) / MAX_BINS, 0
    for edge, count in zip(column.edges, column.counts, strict=False):
        seen += count
        if seen >= share * (len(chosen) + 1) and len(chosen) < MAX_BINS - 1:
            chosen.append(edge)
    return tuple(chosen)


class Grid:
    """The cells that one or two versions' bins are made of, so that an answer is looked up once."""

    def __init__(self, bins: Sequence[Bins | None] = ()) -> None:
        known = [one for one in bins if one is not None]
        self.bins = list(dict.fromkeys(one for one in known if bool(one.edges) == bool(known[0].edges)))
        self.edges = sorted({edge for one in self.bins for edge in one.edges})
        self._classes = list(dict.fromkeys(text for one in self.bins for text in one.classes))
        self._of_class = {text: cell for cell, text in enumerate(self._classes)}
        self.cells = (len(self.edges) or len(self._classes)) + 1 if self.bins else 0

    def class_cell(self, prediction: Any) -> int:
        """Return where a class belongs, only if there are cells; a number belongs to bisect_right(edges, number)."""
        return self._of_class.get(str(prediction).lower(), self.cells - 1)

    def fold(self, counts: Sequence[int]) -> list[PredictionCounts]:
        """Return the counts of the cells by each version's bins, the server's own first."""
        return [PredictionCounts(bins=one.key, counts=self._folded(one, counts)) for one in self.bins]

    def _folded(self, one: Bins, counts: Sequence[int]) -> list[int]:
        folded = [0] * one.size
        for cell, count in enumerate(counts):
            folded[self._bin(one, cell)] += count
        return folded

    def _bin(self, one: Bins, cell: int) -> int:
        if self.edges:
            return bisect_right(one.edges, self.edges[cell - 1]) if cell else 0
        known = cell < len(self._classes) and self._classes[cell] in one.classes
        return one.classes.index(self._classes[cell]) if known else one.size - 1
