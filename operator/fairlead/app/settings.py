"""What can be set from outside: one table of flags, each with an environment variable and a default.

It validates and explains; it never reads files or the cluster. Called by `main.py`; the chart sets the variables.
"""

from __future__ import annotations

import argparse
import os
import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.contract.base import duration_s


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("write true or false")
    return text.lower() == "true"


def _whole(text: str) -> int:
    if int(text) < 0:
        raise ValueError("write a number of at least 0")
    return int(text)


@dataclass(frozen=True)
class Flag:
    """`--name`, or its variable FAIRLEAD_NAME, or the default."""

    name: str
    default: str
    parse: Callable[[str], Any]
    help: str

    @property
    def variable(self) -> str:
        """Return the environment variable."""
        return "FAIRLEAD_" + self.name.upper().replace("-", "_")

    @property
    def field(self) -> str:
        """Return the field of Settings."""
        return self.name.replace("-", "_")


FLAGS = (
    Flag("namespaces", "", _names, "comma-separated namespaces to serve; empty: all"),
    Flag("server-image", "", str, "image of serving pods, by digest where known (required)"),
    Flag("jobs-image", "", str, "image of snapshot, training, evaluation and monitoring Jobs (required)"),
    Flag("image-pull-policy", "IfNotPresent", str, "of the pods that the operator makes"),
    Flag("workers", "8", _whole, "objects reconciled side by side"),
    Flag("leader-elect", "true", _bool, "lead by a Lease; false only for a single process outside a cluster"),
    Flag("lease-namespace", "fairlead-system", str, "namespace of the Lease"),
    Flag("lease-name", "fairlead-operator", str, "name of the Lease"),
    Flag("lease-duration", "15s", duration_s, "after which a standby takes an unrenewed Lease"),
    Flag("lease-renew-deadline", "10s", duration_s, "after which a leader that cannot renew stops"),
    Flag("lease-retry-period", "2s", duration_s, "between attempts to renew or take the Lease"),
    Flag("relist-period", "5m", duration_s, "between full lists of each kind"),
    Flag("bind-address", "", str, "address of the two ports below; empty: all"),
    Flag("health-port", "8081", _whole, "port of /healthz and /readyz; 0: any free one"),
    Flag("metrics-port", "8080", _whole, "port of /metrics; 0: any free one"),
    Flag("log-format", "json", str, "json or text"),
    Flag("log-level", "info", str, "debug, info, warning or error"),
    Flag("kubeconfig", "", str, "kubeconfig file; empty: the pod's service account, else the usual places"),
    Flag("identity", "", str, "holder name in the Lease; empty: host name and a random part"),
)
_CHOICES = {
    "image_pull_policy": ("Always", "IfNotPresent", "Never"),
    "log_format": ("json", "text"),
    "log_level": ("debug", "info", "warning", "error"),
}


@dataclass(frozen=True)
class Settings:
    """The operator's settings; times in seconds."""

    namespaces: tuple[str, ...]
    server_image: str
    jobs_image: str
    image_pull_policy: str
    workers: int
    leader_elect: bool
    lease_namespace: str
    lease_name: str
    lease_duration: float
    lease_renew_deadline: float
    lease_retry_period: float
    relist_period: float
    bind_address: str
    health_port: int
    metrics_port: int
    log_format: str
    log_level: str
    kubeconfig: str
    identity: str


class SettingsError(Exception):
    """A setting is wrong; the message names it and says what to write."""


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings: a flag wins over its variable, the variable over the default. Raises SettingsError."""
    given = _build_parser().parse_args(arguments)
    values: dict[str, Any] = {}
    for flag in FLAGS:
        text = getattr(given, flag.field)
        text = environment.get(flag.variable, flag.default) if text is None else text
        values[flag.field] = _parse(flag, text)
    values["identity"] = values["identity"] or f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
    settings = Settings(**values)
    _check_together(settings)
    return settings


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fairlead-operator", description="The Fairlead operator.")
    for flag in FLAGS:
        parser.add_argument(f"--{flag.name}", default=None, help=f"{flag.help} [{flag.variable}; {flag.default!r}]")
    return parser


def _parse(flag: Flag, text: str) -> Any:
    try:
        value = flag.parse(text)
    except ValueError as error:
        raise SettingsError(f"--{flag.name} ({flag.variable}) is {text!r}: {error}") from error
    choices = _CHOICES.get(flag.field)
    if choices and value not in choices:
        raise SettingsError(f"--{flag.name} ({flag.variable}) is {text!r}: write one of {', '.join(choices)}")
    return value


def _check_together(settings: Settings) -> None:
    for flag in ("server_image", "jobs_image"):
        if not getattr(settings, flag):
            name = flag.replace("_", "-")
            raise SettingsError(f"--{name} (FAIRLEAD_{flag.upper()}) is empty: name the image that the chart installs")
    if not settings.lease_duration > settings.lease_renew_deadline > settings.lease_retry_period > 0:
        raise SettingsError(
            "lease times: write lease-duration > lease-renew-deadline > lease-retry-period > 0; for instance 15s 10s 2s"
        )
    if settings.workers < 1:
        raise SettingsError("--workers (FAIRLEAD_WORKERS) must be at least 1")
