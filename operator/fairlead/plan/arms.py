"""What an arm's pods answered: from cumulative counts per pod to increments that survive restarts.

Pure. It never decides anything about a rollout; the planner feeds it what was polled and hands the increments to
`judge.observe`. A ledger is written in the same status write as the evidence, so nothing is ever counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

MAX_PODS = 20  # an arm; 40 entries of about 40 bytes in the status of the service
_TAIL = 8  # characters kept of a uid and a start id; 40 random uids collide once in five million rollouts


@dataclass(frozen=True)
class ArmCounts:
    """Requests of an arm or pod and what was wrong with them.

    `labelled`: answers whose truth came back, and `wrong` of them. `predicted`: one answer of each request, by bins.
    """

    requests: int = 0
    failed: int = 0
    slow: int = 0
    labelled: int = 0
    wrong: int = 0
    refused: int = 0
    predicted: tuple[int, ...] = ()

    def __add__(self, other: ArmCounts) -> ArmCounts:
        """The sum, field by field."""
        return self._with(other, lambda a, b: a + b)

    def since(self, before: ArmCounts) -> ArmCounts:
        """What came after `before`; a count that went backwards adds nothing."""
        return self._with(before, lambda a, b: max(0, a - b))

    def at_least(self, before: ArmCounts) -> ArmCounts:
        """The larger of both, field by field."""
        return self._with(before, max)

    def _with(self, other: ArmCounts, merge: Callable[[int, int], int]) -> ArmCounts:
        pairs = zip_longest(self.numbers(), other.numbers(), fillvalue=0)
        return self.of([merge(a, b) for a, b in pairs])

    @classmethod
    def of(cls, numbers: Sequence[int]) -> ArmCounts:
        """The inverse of `numbers`."""
        requests, failed, slow, labelled, wrong, refused, *predicted = numbers
        return cls(requests, failed, slow, labelled, wrong, refused, tuple(predicted))

    @property
    def empty(self) -> bool:
        """Whether nothing was counted."""
        return not any(self.numbers())

    def numbers(self) -> tuple[int, ...]:
        """The fields in their order, the predictions last."""
        plain = (self.requests, self.failed, self.slow, self.labelled, self.wrong, self.refused)
        return (*plain, *self.predicted)


@dataclass(frozen=True)
class PodCounts:
    """One pod's answer to a poll: cumulative counts since the process `start_id` began."""

    uid: str
    start_id: str
    counts: ArmCounts


@dataclass(frozen=True)
class ArmReading:
    """One poll of an arm: who answered, and the uids of all its pods that exist (answered or not)."""

    pods: tuple[PodCounts, ...] = ()
    present: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ArmLedger:
    """The last counts of every pod of an arm, by short uid: (short start id, counts)."""

    pods: Mapping[str, tuple[str, ArmCounts]] = field(default_factory=dict)

    def take(self, reading: ArmReading) -> tuple[ArmLedger, ArmCounts]:
        """The ledger after a poll, and what is new in it.

        A new pod or a new start id counts from 0: what an ended process had not reported is lost. A pod that
        did not answer keeps its entry as long as it is present, so nothing is counted twice when it returns.
        """
        known = self._kept(reading)
        total = ArmCounts()
        for uid, pod in self._counted(reading, known):
            start, last = known.get(uid, ("", ArmCounts()))
            if start != _short(pod.start_id):
                last = ArmCounts()
            total += pod.counts.since(last)
            known[uid] = (_short(pod.start_id), pod.counts.at_least(last))
        return ArmLedger(known), total

    def primed(self, reading: ArmReading) -> ArmLedger:
        """The ledger that takes a reading as its zero: for pods that had served before they became this arm."""
        return self.take(reading)[0]

    def rebased(self, reading: ArmReading) -> ArmLedger:
        """The ledger for predictions in other bins: of known pods only what comes after this reading counts."""
        now = {_short(pod.uid): pod.counts.predicted for pod in reading.pods}
        pods = {uid: (start, replace(last, predicted=now.get(uid, ()))) for uid, (start, last) in self.pods.items()}
        return ArmLedger(pods)

    def _kept(self, reading: ArmReading) -> dict[str, tuple[str, ArmCounts]]:
        present = {_short(uid) for uid in reading.present} | {_short(pod.uid) for pod in reading.pods}
        return {uid: entry for uid, entry in self.pods.items() if uid in present}

    @staticmethod
    def _counted(reading: ArmReading, known: Mapping[str, object]) -> Iterable[tuple[str, PodCounts]]:
        """Known pods first, then new ones by uid, up to the limit: a choice that no answer can influence."""
        pods = {_short(pod.uid): pod for pod in reading.pods}
        news = sorted(uid for uid in pods if uid not in known)[: max(0, MAX_PODS - len(known))]
        return [(uid, pods[uid]) for uid in (*sorted(uid for uid in pods if uid in known), *news)]

    def to_list(self) -> list[str]:
        """One short line a pod, for the status: identity, plain counts, predictions."""
        return [" ".join((uid, start, *map(str, counts.numbers()))) for uid, (start, counts) in self.pods.items()]

    @classmethod
    def from_list(cls, lines: Iterable[str]) -> ArmLedger:
        """The inverse of `to_list`."""
        pods = {}
        for line in lines:
            uid, start, *numbers = line.split(" ")
            pods[uid] = (start, ArmCounts.of([int(number) for number in numbers]))
        return cls(pods)


NO_PODS = ArmLedger()


def _short(identity: str) -> str:
    return identity[-_TAIL:].replace(" ", "_") or "-"
