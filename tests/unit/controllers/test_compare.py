from __future__ import annotations

from typing import Any

import pytest

from fairlead.api import names
from fairlead.controllers.compare import is_within, with_applied_digest, without_nulls, would_change


@pytest.mark.parametrize(
    ("desired", "observed"),
    [
        ({"a": 1}, {"a": 1, "defaulted": True}),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2], "c": 3}}),
        ({"limits": {"cpu": "1000m", "memory": "1024Mi"}}, {"limits": {"cpu": "1", "memory": "1Gi"}}),
        ({"limits": {"cpu": 1}}, {"limits": {"cpu": "1"}}),
        ({"emptyDir": {"sizeLimit": "1024Ki"}}, {"emptyDir": {"sizeLimit": "1Mi"}}),
        ({"labels": {}, "args": [], "hostNetwork": False, "x": None}, {}),
        ({"threshold": 1}, {"threshold": 1.0}),
        ({"ports": [{"name": "http", "port": 80}]}, {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}),
        ({"env": [{"name": "a"}, {"name": "b"}]}, {"env": [{"name": "b"}, {"name": "a"}]}),
        ({"ownerReferences": [{"uid": "u"}]}, {"ownerReferences": [{"uid": "other"}, {"uid": "u", "kind": "X"}]}),
    ],
)
def test_what_the_server_adds_or_rewrites_is_no_change(desired: Any, observed: Any) -> None:
    assert is_within(desired, observed)


@pytest.mark.parametrize(
    ("desired", "observed"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {}),
        ({"a": True}, {"a": 1}),
        ({"a": {"b": 1}}, {"a": "b"}),
        ({"rules": [{"weight": 5}]}, {"rules": [{"weight": 5}, {"weight": 95}]}),
        ({"rules": [{"weight": 5}]}, {"rules": []}),
        ({"rules": [{"weight": 5}, {"weight": 95}]}, {"rules": [{"weight": 95}, {"weight": 5}]}),
        ({"env": [{"name": "a", "value": "1"}]}, {"env": [{"name": "a", "value": "2"}]}),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "lots"}}),
        ({"version": "1"}, {"version": "1000m"}),
        ({"ownerReferences": [{"uid": "u"}]}, {"ownerReferences": [{"uid": "other"}]}),
    ],
)
def test_a_users_edit_is_a_change(desired: Any, observed: Any) -> None:
    assert not is_within(desired, observed)


def body(**spec: Any) -> dict[str, Any]:
    return {"kind": "Service", "metadata": {"name": "a", "annotations": {"mine": "x"}}, "spec": spec}


def test_the_digest_tells_a_field_that_is_no_longer_set() -> None:
    before = with_applied_digest(body(a=1, b=2))
    after = with_applied_digest(body(a=1))
    assert not would_change(before, before)
    assert is_within(after["spec"], before["spec"]), "the comparison alone would not see it"
    assert would_change(after, before)


def test_the_body_itself_stays_as_it_was() -> None:
    plain = body(a=1)
    stamped = with_applied_digest(plain)
    assert names.ANNOTATION_APPLIED not in plain["metadata"]["annotations"]
    assert stamped["metadata"]["annotations"]["mine"] == "x"


def test_nulls_mean_absent() -> None:
    assert without_nulls({"a": None, "b": [{"c": None, "d": 0}]}) == {"b": [{"d": 0}]}
