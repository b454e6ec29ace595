"""Carries out plans: actions in order, each at most once, and nothing that would change nothing.

Every write names what it expects to find (uid, resourceVersion), so that a late writer is refused; every answer
goes into the store, so that the next plan sees it. It never decides what should be. The loop is its only caller.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

from fairlead.api import names
from fairlead.api.names import Resource
from fairlead.api.redaction import redact_words
from fairlead.kube.errors import AlreadyExistsError, AwaitDeletionError, ConflictError, NameTakenError, NotFoundError
from fairlead.kube.objects import controller_uid, describe, is_managed, uid_of, version_of
from fairlead.kube.store import Store
from fairlead.plan.types import Action, Apply, Create, Delete, Obj, Scale

from .compare import with_applied_digest, without_nulls, would_change

Place = tuple[Resource, str, str]
_REMEMBERED = 4096


class Writer(Protocol):
    """What the executor needs of `kube.client.Client`."""

    async def find(self, resource: Resource, namespace: str, name: str) -> dict[str, Any] | None:
        """Return the object or None."""
        ...

    async def create(self, resource: Resource, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST."""
        ...

    async def apply(
        self, resource: Resource, namespace: str, body: Mapping[str, Any], *, status: bool = False, force: bool = True
    ) -> dict[str, Any]:
        """Server-side apply."""
        ...

    async def delete(self, resource: Resource, observed: Obj) -> dict[str, Any] | None:
        """Delete exactly the observed object."""
        ...

    async def scale(self, resource: Resource, observed: Obj, replicas: int) -> dict[str, Any]:
        """Set replicas through /scale."""
        ...


class Executor:
    """Writes what plans say; errors are those of `kube/errors.py`."""

    def __init__(self, client: Writer, store: Store) -> None:
        self._client, self._store = client, store
        self._without_effect: OrderedDict[str, tuple[str, str]] = OrderedDict()  # uid -> version, applied digest

    async def act(self, action: Action) -> Place | None:
        """Carry out one action; return the object whose new version the store has still to see, if any."""
        if isinstance(action, Scale):
            return await self._scale(action)
        if isinstance(action, Create):
            await self._create(action)
        elif isinstance(action, Apply):
            await self._apply(action)
        else:
            await self._delete(action)
        return None

    async def write_status(self, resource: Resource, obj: Obj, status: Obj) -> Obj:
        """Apply the whole status if it differs; return the object as it is then. Refused when `obj` is not the last."""
        wanted = redact_words(without_nulls(status))
        if wanted == (obj.get("status") or {}):
            return obj
        metadata = obj["metadata"]
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "status": wanted,
        }
        try:
            answer = await self._client.apply(resource, metadata["namespace"], body, status=True)
        except (ConflictError, NotFoundError):
            await self.refresh(resource, obj)
            raise
        self._store.observe(resource, answer)
        return answer

    async def refresh(self, resource: Resource, obj: Obj) -> None:
        """Read an object again, because it is not as it was seen."""
        metadata = obj["metadata"]
        found = await self._client.find(resource, metadata["namespace"], metadata["name"])
        if found is not None:
            self._store.observe(resource, found)
        elif "uid" in metadata:
            self._store.forget(resource, obj)

    async def _create(self, action: Create) -> None:
        resource = _resource_of(action.body)
        namespace = _checked(resource, action.body)
        try:
            answer = await self._client.create(resource, namespace, without_nulls(action.body))
        except AlreadyExistsError:
            found = await self._client.find(resource, namespace, action.body["metadata"]["name"])
            if found is None:
                raise
            self._require_ours(resource, action.body, found)
            answer = found
        self._store.observe(resource, answer)

    async def _apply(self, action: Apply) -> None:
        resource = _resource_of(action.body)
        namespace = _checked(resource, action.body)
        stamped = with_applied_digest(without_nulls(action.body))
        observed = action.observed
        if observed is None:
            # Born by apply, which would silently take over whatever has the name: so look first.
            observed = await self._client.find(resource, namespace, action.body["metadata"]["name"])
        if observed is None:
            self._store.observe(resource, await self._client.apply(resource, namespace, stamped, force=False))
            return
        self._require_ours(resource, action.body, observed)
        if would_change(stamped, observed) and not self._is_without_effect(stamped, observed):
            await self._reapply(resource, stamped, observed)
        elif action.observed is None:
            self._store.observe(resource, observed)

    async def _reapply(self, resource: Resource, stamped: dict[str, Any], observed: Obj) -> None:
        expected = {"uid": uid_of(observed), "resourceVersion": version_of(observed)}
        body = {**stamped, "metadata": {**stamped["metadata"], **expected}}
        namespace = observed["metadata"]["namespace"]
        try:
            answer = await self._client.apply(resource, namespace, body)
        except (ConflictError, NotFoundError):
            await self.refresh(resource, observed)
            raise
        if version_of(answer) == version_of(observed):
            self._remember_without_effect(stamped, answer)
        self._store.observe(resource, answer)

    def _is_without_effect(self, stamped: Obj, observed: Obj) -> bool:
        """Say whether this very apply to this very version was tried and changed nothing (others' list entries)."""
        known = self._without_effect.get(uid_of(observed))
        return known == (version_of(observed), stamped["metadata"]["annotations"][names.ANNOTATION_APPLIED])

    def _remember_without_effect(self, stamped: Obj, answer: Obj) -> None:
        digest = stamped["metadata"]["annotations"][names.ANNOTATION_APPLIED]
        self._without_effect[uid_of(answer)] = (version_of(answer), digest)
        if len(self._without_effect) > _REMEMBERED:
            self._without_effect.popitem(last=False)

    async def _delete(self, action: Delete) -> None:
        resource = _resource_of(action.observed)
        try:
            left = await self._client.delete(resource, action.observed)
        except NotFoundError:
            left = None
        except ConflictError:
            await self.refresh(resource, action.observed)
            raise
        if left is None:
            self._store.forget(resource, action.observed)
        else:
            self._store.observe(resource, left)

    async def _scale(self, action: Scale) -> Place | None:
        if (action.observed.get("spec") or {}).get("replicas") == action.replicas:
            return None
        resource = _resource_of(action.observed)
        try:
            answer = await self._client.scale(resource, action.observed, action.replicas)
        except (ConflictError, NotFoundError):
            await self.refresh(resource, action.observed)
            raise
        metadata = action.observed["metadata"]
        place = (resource, metadata["namespace"], metadata["name"])
        self._store.expect(*place, version_of(answer))
        return place

    def _require_ours(self, resource: Resource, body: Obj, found: Obj) -> None:
        """Raise unless the found object is the one that this body means: NameTaken or AwaitingDeletion."""
        metadata = found["metadata"]
        what = describe(resource, metadata.get("namespace"), metadata["name"])
        if metadata.get("deletionTimestamp"):
            raise AwaitDeletionError(f"{what} is being deleted; it is made again once it is gone")
        if _is_same_owner(body, found):
            return
        if _is_earlier_owner(body, found):
            raise AwaitDeletionError(f"{what} belongs to a deleted object of the same name; waiting for its removal")
        raise NameTakenError(
            f"{what} exists and is not made by Fairlead for this object; delete or rename it, or rename this object"
        )


def _resource_of(obj: Obj) -> Resource:
    return names.BY_KIND[obj["kind"]]


def _checked(resource: Resource, body: Obj) -> str:
    """Return the body's namespace; refuse what no watch of ours would ever show, which would be made for ever."""
    if resource.label_selected and not is_managed(body):
        raise ValueError(f"{resource.kind} {body['metadata']['name']} lacks the label {names.LABEL_MANAGED_BY}")
    return str(body["metadata"]["namespace"])


def _is_same_owner(body: Obj, found: Obj) -> bool:
    wanted = controller_uid(body)
    if wanted is not None:
        return controller_uid(found) == wanted
    return is_managed(found) and _owner_labels(body) == _owner_labels(found)


def _is_earlier_owner(body: Obj, found: Obj) -> bool:
    return (
        controller_uid(body) is not None
        and controller_uid(found) is not None
        and is_managed(found)
        and _owner_labels(body) == _owner_labels(found)
    )


def _owner_labels(obj: Obj) -> tuple[str | None, str | None]:
    labels = obj["metadata"].get("labels") or {}
    return labels.get(names.LABEL_OWNER_KIND), labels.get(names.LABEL_OWNER)
