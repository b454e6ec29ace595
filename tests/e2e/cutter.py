"""A store that can be cut off in the middle of a write: a proxy in the test's namespace before the real one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from hack.demo.lake import INSIDE
from tests.e2e.cutter_program import LISTEN, ORDERS
from tests.e2e.team import Obj, Team, eventually

PROGRAM = Path(__file__).with_name("cutter_program.py")
NAME = "store-cutter"


@dataclass(frozen=True)
class Cutter:
    """The proxy of one team."""

    team: Team

    @classmethod
    def start(cls, team: Team) -> Cutter:
        """Start it and wait until it takes connections."""
        team.apply(*_objects())
        team.kubectl("wait", "--for=condition=Ready", f"pod/{NAME}", "--timeout=180s")
        cutter = cls(team)
        eventually(lambda: cutter.state() == "whole", "the proxy does not answer", 30)
        return cutter

    @property
    def endpoint(self) -> str:
        """What a Secret names as the store."""
        return f"http://{NAME}.{self.team.namespace}.svc:{LISTEN}"

    def cut(self, at: str, after: int) -> None:
        """Cut everything `after` bytes behind the next occurrence of a pattern in what clients send."""
        self._order(f"cut?at={quote(at, safe='')}&after={after}")

    def heal(self) -> None:
        """Let everything through again."""
        self._order("heal")

    def state(self) -> str:
        """Return "cut" or "whole"."""
        return self._order("")

    def _order(self, path: str) -> str:
        where = f"/api/v1/namespaces/{self.team.namespace}/pods/{NAME}:{ORDERS}/proxy/{path}"
        return self.team.kubectl("get", "--raw", where).strip()


def _objects() -> list[Obj]:
    store = urlsplit(INSIDE)
    container = {
        "name": "cutter",
        "image": "fairlead-operator:dev",
        "command": ["python", "-c", PROGRAM.read_text(), str(store.hostname), str(store.port)],
        "readinessProbe": {"tcpSocket": {"port": LISTEN}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    labels = {"app": NAME}
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": NAME, "labels": labels},
            "spec": {"containers": [container]},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {"selector": labels, "ports": [{"port": LISTEN}]},
        },
    ]
