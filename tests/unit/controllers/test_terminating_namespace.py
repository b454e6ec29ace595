"""A namespace that is being deleted: the loop lets go of its objects, and takes up what is made in a new one."""

from __future__ import annotations

from tests.unit.controllers.test_loop import KEY, Bench

from fairlead.api.conditions import is_true
from fairlead.kube.errors import NamespaceTerminatingError, error_of

CAUSE = {"reason": "NamespaceTerminating", "message": "namespace ns is being terminated", "field": "metadata.namespace"}


def test_only_that_cause_of_a_403_means_it() -> None:
    going = error_of(403, {"message": "no", "details": {"causes": [CAUSE]}}, "create Job a")
    assert (type(going), going.reason) == (NamespaceTerminatingError, "NamespaceTerminating")
    assert type(error_of(403, {"message": "no"}, "create Job a")) is not NamespaceTerminatingError


async def test_one_refusal_is_enough_for_an_object_and_not_for_one_of_the_same_name() -> None:
    bench = Bench()
    bench.user()
    bench.api.fail("apply", NamespaceTerminatingError("apply Service a: ns is being terminated"))
    await bench.turn()
    assert bench.queue.failures(KEY) == 0, "it is not tried again by itself"
    before = len(bench.api.calls)
    bench.user(job=True)
    bench.loop.enqueue_all()
    await bench.turn()
    assert len(bench.api.calls) == before
    del bench.api.objects[("toys", "ns", "a")]
    bench.user(job=True)
    await bench.turn()
    assert is_true(bench.toy(), "Ready")
