"""What a pod answered lately, by response id, so that a label that comes back can be held against the answer.

A table in memory that all workers share: an id has one place in it, and a later answer of the same place replaces it,
so of a worker that gave k more answers since, exp(-k / 65,536) of the old ones are still known. A label for an id that
is not known here counts for nothing: another pod gave the answer, or it is too long ago. Each answer counts once.
Written on the hot path by `predict`, read by `capture.Feedback`. Never holds an input or an id in full.
"""

from __future__ import annotations

import mmap
from typing import Any

from fairlead_runtime.signature import Signature, label_text

PLACES = 65_536  # of one worker: 1 MB
_WORD = (1 << 64) - 1


class Answered:
    """The tables of all workers; keys are Python's hashes of ids, which forked workers compute alike."""

    def __init__(self, workers: int, signature: Signature) -> None:
        self._workers = workers
        self._view = memoryview(mmap.mmap(-1, workers * PLACES * 16)).cast("Q")
        self._text = label_text(signature)
        self._code_of = {text: code for code, text in enumerate(signature.classes, 2)}

    def writer(self, worker: int) -> Remember:
        """Return what worker `worker`, and no other, writes by."""
        return Remember(self, self._view[2 * worker * PLACES : 2 * (worker + 1) * PLACES])

    def code(self, label: Any) -> int:
        """Return the number of a class, 1 for any text that is none."""
        return self._code_of.get(self._text(label), 1)

    def is_wrong(self, response_id: str, label: Any) -> bool | None:
        """Return whether the answer was another one than this label; None if it is not known, or was asked before."""
        key = _key(response_id)
        for worker in range(self._workers):
            at = 2 * (worker * PLACES + key % PLACES)
            code = self._view[at + 1]
            if self._view[at] == key:
                self._view[at] = 0
                truth = self.code(label)
                return truth == 1 or code != truth
        return None


class Remember:
    """One worker's way to write."""

    def __init__(self, answered: Answered, view: memoryview) -> None:
        self._view = view
        self._code = answered.code
        self._known: dict[Any, int] = {}

    def add(self, response_id: str, prediction: Any) -> None:
        """Remember an answer."""
        code = self._known.get(prediction)
        if code is None:
            code = self._known[prediction] = self._code(prediction)
        key, view = _key(response_id), self._view
        at = 2 * (key % PLACES)
        view[at] = 0  # a reader must not see the old key beside the new answer
        view[at + 1] = code
        view[at] = key


def _key(response_id: str) -> int:
    return hash(response_id) & _WORD or 1
