"""What a team has in Git, and the Application that Argo CD keeps in sync with it; every state of its diff is noted.

Argo CD is asked to compare anew each second, so at every step of a rollout, however short. A diff is expected between a
commit and its sync, and while a person's change is undone; any other one is a finding.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hack.demo.cluster import CONTEXT
from kubernetes import client, config, watch
from tests.e2e.argo.argocd import NAMESPACE
from tests.e2e.team import Obj, Team, eventually, kubectl

GROUP, VERSION, PLURAL = "argoproj.io", "v1alpha1", "applications"
REFRESH = "argocd.argoproj.io/refresh"
TRACKING = "argocd.argoproj.io/tracking-id"
COMPARED_EACH_S = 1.0
AUTHOR = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")


@dataclass
class Repository:
    """A Git repository with one file for each object."""

    folder: Path
    objects: dict[str, Obj] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self._git("init", "--quiet", "--initial-branch=main")

    @property
    def url(self) -> str:
        """How Argo CD clones it."""
        return f"file://{self.folder}"

    def commit(self, message: str, *objects: Obj, without: Sequence[str] = ()) -> str:
        """Commit objects, new or changed, and remove others by `kind/name`; return the commit."""
        self.objects |= {_key(obj): obj for obj in objects}
        for key in without:
            del self.objects[key]
            (self.folder / _file(key)).unlink()
        for key, obj in self.objects.items():
            (self.folder / _file(key)).write_text(json.dumps(obj, indent=2) + "\n")
        self._git("add", "--all")
        self._git(*AUTHOR, "commit", "--quiet", "--message", message)
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _key(obj: Obj) -> str:
    return f"{obj['kind']}/{obj['metadata']['name']}"


def _file(key: str) -> str:
    return f"{key.replace('/', '-').lower()}.json"


@dataclass(frozen=True)
class Seen:
    """One state of an Application as its watch told it."""

    at: float  # monotonic
    expected: bool  # a diff is no surprise now
    sync: str
    revision: str
    health: str
    differs: tuple[str, ...]  # kind/name of what is not as in Git
    compared: str  # when the last comparison ended
    operation: str  # phase of the last sync
    synced: str  # the commit that the last sync brought
    number: int  # of the last sync that ended well

    @classmethod
    def of(cls, application: Obj, *, expected: bool) -> Seen:
        """Read an Application."""
        status = application.get("status") or {}
        sync, operation = status.get("sync") or {}, status.get("operationState") or {}
        entries, history = status.get("resources") or (), status.get("history") or [{}]
        return cls(
            at=time.monotonic(),
            expected=expected,
            sync=sync.get("status", ""),
            revision=sync.get("revision", ""),
            health=(status.get("health") or {}).get("status", ""),
            differs=tuple(f"{e['kind']}/{e['name']}" for e in entries if e.get("status") != "Synced"),
            compared=status.get("reconciledAt", ""),
            operation=operation.get("phase", ""),
            synced=(operation.get("syncResult") or {}).get("revision", ""),
            number=history[-1].get("id", -1),
        )

    @property
    def in_sync(self) -> bool:
        """Whether the diff is empty."""
        return self.sync == "Synced" and not self.differs


@dataclass
class Application:
    """One Application with automated sync, self-heal and pruning, watched from its creation to its end."""

    team: Team
    repository: Repository
    options: Sequence[str] = ()  # Argo CD's sync options
    compare: str = ""  # Argo CD's compare options
    seen: list[Seen] = field(default_factory=list)
    last: Obj = field(default_factory=dict)
    _expected: bool = True
    _ending: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """Its name: that of the team's namespace."""
        return self.team.namespace

    @contextlib.contextmanager
    def running(self) -> Iterator[Application]:
        """Make it, and watch it until the block ends; then remove it, and nothing of what it brought."""
        kubectl("apply", "-f", "-", given=json.dumps(self._manifest()))
        threads = [threading.Thread(target=work, daemon=True) for work in (self._watch, self._keep_comparing)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._ending.set()
            kubectl("delete", f"{PLURAL}.{GROUP}", self.name, "-n", NAMESPACE, "--ignore-not-found")
            for thread in threads:
                thread.join(10)

    def commit(self, message: str, *objects: Obj, without: Sequence[str] = ()) -> None:
        """Commit, and wait until Argo CD has brought it and finds no difference."""
        with self.may_differ():
            commit = self.repository.commit(message, *objects, without=without)
            self.until(
                lambda s: s.in_sync and s.revision == commit == s.synced and s.operation == "Succeeded",
                f"Argo CD did not bring {message!r}",
            )

    def sync(self, strategy: Mapping[str, Any], *options: str) -> None:
        """Sync as the button does, whatever the diff, and wait for its end."""
        before = self.seen[-1].number
        sync = {"syncStrategy": strategy, "syncOptions": [*self.options, *options], "prune": True}
        self._patch({"operation": {"initiatedBy": {"username": "ada"}, "sync": sync}})
        self.until(lambda s: s.operation == "Succeeded" and s.number > before, "a sync by hand did not end well")

    def until(self, holds: Callable[[Seen], bool], otherwise: str, timeout_s: float = 120) -> Seen:
        """Wait until its newest state is so."""

        def found() -> Seen | None:
            return self.seen[-1] if self.seen and holds(self.seen[-1]) else None

        try:
            seen: Seen = eventually(found, otherwise, timeout_s)
        except AssertionError as error:
            said = {key: self.last.get("status", {}).get(key) for key in ("sync", "conditions", "operationState")}
            raise AssertionError(f"{error}; it says: {json.dumps(said)[:3000]}") from error
        return seen

    @contextlib.contextmanager
    def may_differ(self) -> Iterator[None]:
        """Within the block a diff is no surprise; it ends in a state without one, which the block waits for itself."""
        self._expected = True
        yield
        self._expected = False

    def nothing_may_differ(self) -> None:
        """From now on, its first sync done, a diff is a surprise."""
        self._expected = False

    def health(self, kind: str, name: str) -> tuple[str, str]:
        """Return what Argo CD makes of an object: health and message."""
        entries = (self.last.get("status") or {}).get("resources") or ()
        found = next((entry for entry in entries if (entry["kind"], entry["name"]) == (kind, name)), {})
        health = found.get("health") or {}
        return health.get("status", ""), health.get("message", "")

    def surprises(self) -> list[Seen]:
        """Return the states with a diff that nobody's change explains."""
        return [seen for seen in self.seen if not seen.in_sync and not seen.expected]

    def comparisons(self, since: float = 0.0, until: float = float("inf")) -> int:
        """Return how many comparisons ended in a span of time (monotonic), at most one a second."""
        known = {seen.compared: seen.at for seen in reversed(self.seen) if seen.compared}
        return sum(since <= at <= until for at in known.values())

    def rendered(self) -> list[Obj]:
        """Return what Argo CD applies: the manifests with its mark."""
        return [self._marked(obj) for obj in self.repository.objects.values()]

    def _marked(self, obj: Obj) -> Obj:
        group = obj["apiVersion"].partition("/")[0]
        mark = f"{self.name}:{group}/{obj['kind']}:{self.team.namespace}/{obj['metadata']['name']}"
        metadata = obj["metadata"]
        annotations = {**metadata.get("annotations", {}), TRACKING: mark}
        return {**obj, "metadata": {**metadata, "namespace": self.team.namespace, "annotations": annotations}}

    def _manifest(self) -> Obj:
        annotations = {"argocd.argoproj.io/compare-options": self.compare} if self.compare else {}
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "Application",
            "metadata": {"name": self.name, "namespace": NAMESPACE, "annotations": annotations},
            "spec": {
                "project": "default",
                "source": {"repoURL": self.repository.url, "targetRevision": "main", "path": "."},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": self.team.namespace},
                "syncPolicy": {
                    "automated": {"prune": True, "selfHeal": True},
                    "syncOptions": list(self.options),
                },
            },
        }

    def _watch(self) -> None:
        api, stream = _objects(), watch.Watch()
        listed = api.list_namespaced_custom_object
        chosen = {"field_selector": f"metadata.name={self.name}"}
        for event in stream.stream(listed, GROUP, VERSION, NAMESPACE, PLURAL, **chosen):
            if event["type"] == "DELETED" or self._ending.is_set():
                return
            self.last = event["object"]
            self.seen.append(Seen.of(self.last, expected=self._expected))

    def _keep_comparing(self) -> None:
        api = _objects()
        while not self._ending.wait(COMPARED_EACH_S):
            with contextlib.suppress(client.ApiException):  # it is just being removed
                self._patch({"metadata": {"annotations": {REFRESH: "normal"}}}, api)

    def _patch(self, change: Mapping[str, Any], api: client.CustomObjectsApi | None = None) -> None:
        (api or _objects()).patch_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, self.name, dict(change))


def _objects() -> client.CustomObjectsApi:
    """Return a client of its own: threads share none."""
    return client.CustomObjectsApi(config.new_client_from_config(context=CONTEXT))
