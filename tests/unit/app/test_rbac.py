from __future__ import annotations

from fairlead.api import names
from fairlead.app.rbac import RULES


def granted(plural: str, verb: str) -> bool:
    return any(plural in rule.resources and verb in rule.verbs for rule in RULES)


def test_everything_watched_can_be_watched() -> None:
    for resource in names.RESOURCES:
        for verb in ("list", "watch"):
            assert granted(resource.plural, verb), (resource.plural, verb)


def test_groups_are_those_of_the_resources() -> None:
    groups = {resource.plural: resource.api_version.rpartition("/")[0] for resource in names.RESOURCES}
    for rule in RULES:
        for resource in rule.resources:
            plural = resource.split("/")[0]
            assert rule.api_group == groups.get(plural, rule.api_group), resource


def test_no_secrets_no_config_maps_no_wildcards() -> None:
    words = {word for rule in RULES for word in (*rule.resources, *rule.verbs, rule.api_group)}
    assert not words & {"secrets", "configmaps", "*", "escalate", "bind", "impersonate"}


def test_specs_of_our_own_kinds_are_never_written() -> None:
    for resource in names.OWN_KINDS:
        for verb in ("patch", "update", "delete", "deletecollection"):
            assert not granted(resource.plural, verb)


def test_every_row_says_why_and_no_two_rows_overlap() -> None:
    seen: set[tuple[str, str, str]] = set()
    for rule in RULES:
        assert len(rule.why) > 5
        for resource in rule.resources:
            for verb in rule.verbs:
                entry = (rule.api_group, resource, verb)
                assert entry not in seen
                seen.add(entry)
