"""The parts of the world that are not Kubernetes objects: counters of serving pods and lines of logs.

Both are bounded in time, size and rate, and never raise: what cannot be read is an answer too. Made by
`app/main.py`, used by `gather` of the controllers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import aiohttp
from pydantic import ValidationError

from fairlead.contract.env import PORT_CONTROL
from fairlead.contract.jobs import ArmReport
from fairlead.kube.errors import InvalidError, KubeError, NotFoundError
from fairlead.kube.objects import uid_of
from fairlead.plan.types import Obj

from .types import ArmFailure

log = logging.getLogger(__name__)
ARM_PODS = 20  # of an arm; its counts are a sample then
ARM_TIMEOUT_S = 2.0
ARM_BYTES = 64 * 1024
ARM_INTERVAL_S = 1.9  # a look at a rollout; our own status writes wake the reconcile far more often
ARM_REMEMBERED = 512
LOG_INTERVAL_S = 10.0
LOG_REMEMBERED = 512
LOG_LINE_MAX = 2048


class HttpArms:
    """`Arms` by HTTP to pod addresses, each read at most every 2 s. Ends what it began with `close`.

    `port` is for tests; otherwise it is the one that the pod calls `control`.
    """

    def __init__(
        self,
        port: int | None = None,
        timeout_s: float = ARM_TIMEOUT_S,
        *,
        interval_s: float = ARM_INTERVAL_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port, self._timeout_s = port, timeout_s
        self._interval_s, self._monotonic = interval_s, monotonic
        self._known: OrderedDict[str, tuple[float, ArmReport | ArmFailure]] = OrderedDict()
        self._session: aiohttp.ClientSession | None = None

    async def poll(self, pods: Sequence[Obj]) -> Mapping[str, ArmReport | ArmFailure]:
        """Return pod uid -> report or failure, for the first 20 pods by name."""
        chosen = sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))[:ARM_PODS]
        reports = await asyncio.gather(*map(self._read_or_recall, chosen))
        return {uid_of(pod): report for pod, report in zip(chosen, reports, strict=True)}

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _read_or_recall(self, pod: Obj) -> ArmReport | ArmFailure:
        uid, now = uid_of(pod), self._monotonic()
        known = self._known.get(uid)
        if known is not None and now - known[0] < self._interval_s:
            return known[1]
        report = await self._read(pod)
        self._known[uid] = (now, report)
        self._known.move_to_end(uid)
        if len(self._known) > ARM_REMEMBERED:
            self._known.popitem(last=False)
        return report

    async def _read(self, pod: Obj) -> ArmReport | ArmFailure:
        name = pod["metadata"]["name"]
        address = (pod.get("status") or {}).get("podIP")
        if not address:
            return ArmFailure(f"pod {name} has no address yet")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._fetch(_url(address, self._port or _control_port(pod)))
        except TimeoutError:
            return ArmFailure(f"pod {name} did not answer /arm within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return ArmFailure(f"pod {name} did not answer /arm: {type(error).__name__}")
        except (ValidationError, ValueError):
            return ArmFailure(f"pod {name} answered /arm with something else than counts")

    async def _fetch(self, url: str) -> ArmReport:
        if self._session is None:
            # No proxy from the environment, no cookies, no redirects: a pod must not send us elsewhere.
            self._session = aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        async with self._session.get(url, allow_redirects=False, raise_for_status=True) as response:
            raw = await response.content.read(ARM_BYTES + 1)
            while len(raw) <= ARM_BYTES and (more := await response.content.read(ARM_BYTES)):
                raw += more
        if len(raw) > ARM_BYTES:
            raise ValueError("too long")
        return ArmReport.model_validate_json(raw)


def _control_port(pod: Obj) -> int:
    """Return the port that a pod calls `control`: a proxy's is another one than our server's."""
    containers = (pod.get("spec") or {}).get("containers") or ()
    ports = (port for container in containers for port in container.get("ports") or ())
    return next((int(port["containerPort"]) for port in ports if port.get("name") == "control"), PORT_CONTROL)


def _url(address: str, port: int) -> str:
    host = f"[{address}]" if ipaddress.ip_address(address).version == 6 else address
    return f"http://{host}:{port}/arm"


class LogReader(Protocol):
    """What `PodLogs` needs of `kube.client.Client`."""

    async def read_log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        """Return the last lines of a container."""
        ...


class PodLogs:
    """`Logs` by the API server, at most one read per pod and container in ten seconds."""

    def __init__(self, client: LogReader, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client, self._monotonic = client, monotonic
        self._known: OrderedDict[tuple[str, str, str], tuple[float, list[str]]] = OrderedDict()

    async def tail(self, namespace: str, pod: str, container: str, lines: int) -> list[str]:
        """Return the last lines, or those of the last reading; a pod that is absent or not started has none."""
        place = (namespace, pod, container)
        now = self._monotonic()
        known = self._known.get(place)
        if known is not None and now - known[0] < LOG_INTERVAL_S:
            return known[1][-lines:]
        text = await self._read(place, lines, known[1] if known else [])
        self._known[place] = (now, text)
        self._known.move_to_end(place)
        if len(self._known) > LOG_REMEMBERED:
            self._known.popitem(last=False)
        return text[-lines:]

    async def _read(self, place: tuple[str, str, str], lines: int, before: list[str]) -> list[str]:
        try:
            text = await self._client.read_log(*place, lines)
        except (NotFoundError, InvalidError):  # InvalidError: the container is still waiting to start
            return []
        except KubeError as error:
            log.info("log of pod %s/%s: %s", place[0], place[1], error.message)
            return before
        return [line[:LOG_LINE_MAX] for line in text.splitlines()]
