from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.api import names
from fairlead.api.names import DATASET, JOB, POD, Resource
from fairlead.kube.objects import is_older
from fairlead.kube.store import JOB_NAME_LABEL, TOMBSTONES, Store, place_of


def job(name: str = "a", version: int = 1, uid: str = "u", **metadata: Any) -> dict[str, Any]:
    return {
        "kind": "Job",
        "metadata": {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": str(version), **metadata},
    }


def relist(store: Store, listed: list[dict[str, Any]], at: str, namespaces: tuple[str, ...] = ()) -> int:
    missed = sum(store.observe(JOB, obj) for obj in listed)
    return missed + store.prune(JOB, set(map(place_of, listed)), at, namespaces)


def version(store: Store, name: str = "a") -> str | None:
    held = store.get(JOB, "ns", name)
    return held["metadata"]["resourceVersion"] if held else None


def test_news_are_taken_and_told_and_old_news_are_not() -> None:
    store, told = Store(), []
    store.listen(lambda resource, obj: told.append((resource.kind, obj["metadata"]["resourceVersion"])))
    assert store.observe(JOB, job(version=5))
    assert not store.observe(JOB, job(version=5))
    assert not store.observe(JOB, job(version=4))
    assert store.observe(JOB, job(version=10))
    assert version(store) == "10"
    assert told == [("Job", "5"), ("Job", "10")]


def test_versions_compare_as_numbers() -> None:
    assert is_older("9", "10")
    assert not is_older("10", "9")
    assert not is_older("9", "9")
    assert not is_older("x", "10"), "nothing is known of versions that are no numbers"


def test_a_deleted_object_does_not_come_back_by_a_late_event() -> None:
    store = Store()
    store.observe(JOB, job(version=5))
    assert store.forget(JOB, job(version=7))
    assert not store.observe(JOB, job(version=6))
    assert version(store) is None


def test_an_object_that_gets_our_label_back_is_seen_again() -> None:
    """Losing the label is a deletion for the watch; the object itself lives on under its uid."""
    store = Store()
    store.observe(JOB, job(version=5))
    store.forget(JOB, job(version=7))
    assert store.observe(JOB, job(version=8))


def test_a_recreated_object_survives_the_late_deletion_of_its_forerunner() -> None:
    store = Store()
    store.observe(JOB, job(version=5, uid="old"))
    store.observe(JOB, job(version=9, uid="new"))
    assert not store.forget(JOB, job(version=7, uid="old"))
    assert version(store) == "9"
    assert not store.observe(JOB, job(version=6, uid="old"))


def test_late_news_of_what_we_deleted_do_not_bring_it_back() -> None:
    """Our delete had the version as precondition, so nothing can have happened between it and the deletion."""
    store = Store()
    store.observe(JOB, job(version=5))
    store.forget(JOB, job(version=5))
    assert not store.observe(JOB, job(version=5))
    assert not store.forget(JOB, job(version=8)), "the watch tells it too"
    assert not store.observe(JOB, job(version=7))
    assert store.observe(JOB, job(version=9, uid="new"))


def test_a_relist_finds_what_no_watch_told() -> None:
    store, told = Store(), []
    for name in ("kept", "gone", "changed"):
        store.observe(JOB, job(name, 5, uid=name))
    store.listen(lambda _, obj: told.append(obj["metadata"]["name"]))
    listed = [job("kept", 5, uid="kept"), job("changed", 8, uid="changed"), job("born", 9, uid="born")]
    assert relist(store, listed, "10") == 3
    assert sorted(told) == ["born", "changed", "gone"]
    assert version(store, "gone") is None


def test_a_relist_does_not_remove_what_is_younger_than_itself() -> None:
    store = Store()
    store.observe(JOB, job(version=15))
    assert relist(store, [], "10") == 0
    assert version(store) == "15"


def test_a_stale_relist_does_not_bring_old_state_back() -> None:
    store = Store()
    store.observe(JOB, job(version=15))
    store.forget(JOB, job(version=16))
    relist(store, [job(version=9)], "10")
    assert version(store) is None


def test_a_relist_of_one_namespace_leaves_others() -> None:
    store = Store()
    store.observe(JOB, job(version=5))
    relist(store, [], "10", ("elsewhere",))
    assert version(store) == "5"


def test_expected_versions_are_behind_until_seen() -> None:
    store = Store()
    store.observe(JOB, job(version=5))
    store.expect(JOB, "ns", "a", "7")
    assert store.is_behind(JOB, "ns", "a")
    store.observe(JOB, job(version=6))
    assert store.is_behind(JOB, "ns", "a")
    store.observe(JOB, job(version=8))
    assert not store.is_behind(JOB, "ns", "a")
    store.expect(JOB, "ns", "a", "8")
    assert not store.is_behind(JOB, "ns", "a")


def test_an_expected_object_that_is_deleted_is_awaited_no_longer() -> None:
    store = Store()
    store.observe(JOB, job(version=5))
    store.expect(JOB, "ns", "a", "7")
    store.forget(JOB, job(version=9))
    assert not store.is_behind(JOB, "ns", "a")


def test_objects_are_found_by_owner_label_and_job() -> None:
    store = Store()
    owners = [{"uid": "boss", "controller": True}]
    labels = {names.LABEL_OWNER: "x", names.LABEL_ROLE: "train", JOB_NAME_LABEL: "j"}
    store.observe(POD, job("p2", 1, uid="2", ownerReferences=owners, labels=labels))
    store.observe(POD, job("p1", 2, uid="1", ownerReferences=owners, labels={**labels, names.LABEL_ROLE: "other"}))
    store.observe(POD, job("p3", 3, uid="3"))
    assert [pod["metadata"]["name"] for pod in store.owned_by(POD, "boss")] == ["p1", "p2"]
    assert [pod["metadata"]["name"] for pod in store.pods_of_job("ns", "j")] == ["p1", "p2"]
    chosen = store.select(POD, "ns", {names.LABEL_OWNER: "x", names.LABEL_ROLE: "train"})
    assert [pod["metadata"]["name"] for pod in chosen] == ["p2"]
    assert [pod["metadata"]["name"] for pod in store.list(POD)] == ["p1", "p2", "p3"]
    assert store.list(POD, "elsewhere") == []
    store.observe(POD, job("p1", 5, uid="1"))
    assert [pod["metadata"]["name"] for pod in store.owned_by(POD, "boss")] == ["p2"]
    store.forget(POD, job("p2", 6, uid="2"))
    assert store.owned_by(POD, "boss") == []
    assert store.select(POD, "ns", {names.LABEL_OWNER: "x"}) == []


@pytest.mark.parametrize("resource", [DATASET, JOB])
def test_managed_fields_are_not_kept(resource: Resource) -> None:
    store = Store()
    obj = job("a", 1, uid="a", managedFields=[{"x": 1}]) | {"kind": resource.kind}
    store.observe(resource, obj)
    del obj["metadata"]["managedFields"]
    assert store.get(resource, "ns", "a") == obj


def test_equal_strings_of_our_own_kinds_are_one() -> None:
    store = Store()
    for name in ("a", "b"):
        long = "".join(["input"] * 100)
        store.observe(DATASET, job(name, 1, uid=name, annotations={"k": long}))
    one, two = store.list(DATASET)
    assert one["metadata"]["annotations"]["k"] is two["metadata"]["annotations"]["k"]


def test_a_child_is_kept_in_about_the_bytes_of_its_json() -> None:
    body = job("a", 1, uid="a", annotations={f"key-{n}": {"value": str(n)} for n in range(100)})
    size = len(json.dumps(body))
    store, count = Store(), 200
    tracemalloc.start()
    for number in range(count):
        store.observe(JOB, json.loads(json.dumps(body | {"metadata": body["metadata"] | {"name": f"a-{number}"}})))
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept / count < size + 1500


def test_tombstones_are_bounded() -> None:
    store = Store()
    for number in range(TOMBSTONES + 10):
        store.forget(JOB, job(f"j{number}", number + 1, uid=f"u{number}"))
    assert len(store._tombstones) == TOMBSTONES


@pytest.mark.filterwarnings("ignore")
@given(st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_any_order_of_events_ends_in_the_last_state(order: list[int], twice: set[int]) -> None:
    """Versions 1..8 of one name: two lives, each made, changed, changed again, deleted."""
    events = [(uid, 4 * life + step, step == 4) for life, uid in ((0, "old"), (1, "new")) for step in (1, 2, 3, 4)]
    events = events[:7]  # the second life goes on
    store = Store()
    for number in [*order, *twice]:
        if number < len(events):
            uid, at, deleted = events[number]
            (store.forget if deleted else store.observe)(JOB, job(version=at, uid=uid))
    assert version(store) == "7"
