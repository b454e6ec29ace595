"""Names derive from owners, fit Kubernetes, and each resource is known by one kind."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.api import names

LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
OWNERS = st.from_regex(r"\A[a-z]([-a-z0-9]{0,38}[a-z0-9])?\Z")


@given(OWNERS, st.text(st.characters(codec="ascii"), min_size=1, max_size=22))
def test_a_childs_name_is_a_dns_label_that_begins_with_its_owner(owner: str, suffix: str) -> None:
    name = names.child_name(owner, suffix)
    assert LABEL.match(name)
    assert name.startswith(owner)
    assert len(name) <= 63


@given(OWNERS, st.text(max_size=22))
def test_the_same_child_has_the_same_name(owner: str, suffix: str) -> None:
    assert names.child_name(owner, suffix) == names.child_name(owner, suffix)


def test_a_name_that_would_not_fit_is_refused_and_not_cut() -> None:
    with pytest.raises(ValueError, match="63 characters"):
        names.child_name("a" * names.MAX_NAME, "b" * 23)


def test_every_resource_is_known_by_its_kind() -> None:
    assert len(names.BY_KIND) == len(names.RESOURCES)
    assert all(names.BY_KIND[resource.kind] is resource for resource in names.RESOURCES)


def test_our_names_collide_with_nobodys() -> None:
    assert all(resource.api_version == "fairlead.dev/v1alpha1" for resource in names.OWN_KINDS)
    assert names.STATUS_MANAGER != names.FIELD_MANAGER
