from __future__ import annotations

import dataclasses

import pytest

from fairlead.app.settings import FLAGS, Settings, SettingsError, read_settings

IMAGES = {"FAIRLEAD_SERVER_IMAGE": "server@sha256:1", "FAIRLEAD_JOBS_IMAGE": "jobs@sha256:2"}


def test_defaults_hold_when_only_the_images_are_given() -> None:
    settings = read_settings([], IMAGES)
    assert (settings.lease_duration, settings.lease_renew_deadline, settings.lease_retry_period) == (15.0, 10.0, 2.0)
    assert settings.relist_period == 300.0
    assert settings.namespaces == ()
    assert settings.server_image == "server@sha256:1"


def test_a_flag_wins_over_its_variable() -> None:
    settings = read_settings(["--workers", "3"], {**IMAGES, "FAIRLEAD_WORKERS": "5", "FAIRLEAD_NAMESPACES": "a, b,"})
    assert settings.workers == 3
    assert settings.namespaces == ("a", "b")


def test_every_process_has_its_own_identity() -> None:
    assert read_settings([], IMAGES).identity != read_settings([], IMAGES).identity


def test_the_table_and_the_type_agree() -> None:
    assert [flag.field for flag in FLAGS] == [field.name for field in dataclasses.fields(Settings)]


@pytest.mark.parametrize(
    ("arguments", "environment", "names"),
    [
        ([], {}, "FAIRLEAD_SERVER_IMAGE"),
        (["--workers", "0"], IMAGES, "FAIRLEAD_WORKERS"),
        (["--workers", "many"], IMAGES, "FAIRLEAD_WORKERS"),
        (["--relist-period", "soon"], IMAGES, "--relist-period"),
        (["--log-format", "xml"], IMAGES, "json, text"),
        (["--leader-elect", "maybe"], IMAGES, "true or false"),
        (["--lease-duration", "5s"], IMAGES, "lease-duration > lease-renew-deadline"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_write(
    arguments: list[str], environment: dict[str, str], names: str
) -> None:
    with pytest.raises(SettingsError, match=names):
        read_settings(arguments, environment)
