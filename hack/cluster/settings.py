"""Where things are kept and what the cluster is called: all that the environment may change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
DEFAULT_CLUSTER = "fairlead"


@dataclass(frozen=True)
class Settings:
    """Read once at start; every step gets the same one."""

    cache: Path
    cluster: str
    source: str  # auto | registry | build
    ports: bool

    @property
    def bin(self) -> Path:
        """The folder to put on PATH: links to the programs that were made here."""
        return self.cache / "bin"

    @property
    def logs(self) -> Path:
        """One log per step, of its last run."""
        return self.cache / "logs"

    @property
    def context(self) -> str:
        """The cluster's name in kubeconfig."""
        return f"kind-{self.cluster}"

    @property
    def node(self) -> str:
        """The container that is the node."""
        return f"{self.cluster}-control-plane"


def load() -> Settings:
    """Settings from FAIRLEAD_CACHE, FAIRLEAD_CLUSTER, FAIRLEAD_SOURCE and FAIRLEAD_PORTS.

    Only one cluster can own the two host ports, so another name goes without unless told otherwise.
    """
    default_cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "fairlead"
    cluster = os.environ.get("FAIRLEAD_CLUSTER", DEFAULT_CLUSTER)
    ports = os.environ.get("FAIRLEAD_PORTS", "on" if cluster == DEFAULT_CLUSTER else "off")
    source = os.environ.get("FAIRLEAD_SOURCE", "auto")
    if source not in {"auto", "registry", "build"}:
        raise SystemExit(f"FAIRLEAD_SOURCE={source}: must be auto, registry or build")
    cache = Path(os.environ.get("FAIRLEAD_CACHE", default_cache)).expanduser().absolute()
    return Settings(cache=cache, cluster=cluster, source=source, ports=ports == "on")
