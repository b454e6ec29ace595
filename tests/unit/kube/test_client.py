"""The client's requests and errors, against a fake API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from tests.support.fake_api import FakeApi, fake_api, status

from fairlead.api.names import JOB, POD, SERVICE
from fairlead.kube import errors
from fairlead.kube.client import Client, Timeouts, yaml_text

RESOURCES = (JOB, POD, SERVICE)
SEEN = {"kind": "Job", "metadata": {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "5"}}


@pytest_asyncio.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api(RESOURCES) as running:
        yield running


@pytest_asyncio.fixture
async def client(api: FakeApi) -> AsyncIterator[Client]:
    made = Client(api.connection())
    yield made
    await made.close()


def answer(api: FakeApi, code: int, reason: str = "X", message: str = "said", **headers: str) -> None:
    api.interfere = lambda _request: status(code, reason, message, **headers)


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retryable"),
    [
        (400, "BadRequest", errors.InvalidError, False),
        (401, "Unauthorized", errors.UnauthorizedError, True),
        (403, "Forbidden", errors.ForbiddenError, True),
        (404, "NotFound", errors.NotFoundError, True),
        (409, "Conflict", errors.ConflictError, True),
        (409, "AlreadyExists", errors.AlreadyExistsError, True),
        (410, "Expired", errors.ExpiredError, True),
        (422, "Invalid", errors.InvalidError, False),
        (429, "TooManyRequests", errors.ThrottledError, True),
        (500, "InternalError", errors.ServerError, True),
        (503, "ServiceUnavailable", errors.ServerError, True),
    ],
)
async def test_each_status_is_one_error_that_says_whether_to_try_again(
    api: FakeApi, client: Client, code: int, reason: str, kind: type[errors.KubeError], retryable: bool
) -> None:
    answer(api, code, reason)
    with pytest.raises(kind) as raised:
        await client.create(JOB, "ns", SEEN)
    assert type(raised.value) is kind
    assert isinstance(raised.value, errors.RetryableError) == retryable
    assert raised.value.message == "create Job ns/a: said"


async def test_an_exceeded_quota_has_its_own_reason(api: FakeApi, client: Client) -> None:
    answer(api, 403, "Forbidden", "pods a is forbidden: exceeded quota: small")
    with pytest.raises(errors.ForbiddenError) as raised:
        await client.create(JOB, "ns", SEEN)
    assert raised.value.reason == "QuotaExceeded"


async def test_throttling_says_when_to_come_back(api: FakeApi, client: Client) -> None:
    answer(api, 429, Retry_After="7")
    with pytest.raises(errors.ThrottledError) as raised:
        await client.get(JOB, "ns", "a")
    assert raised.value.retry_after_s == 7


async def test_no_answer_a_cut_answer_and_a_late_answer_are_unreachable(api: FakeApi, client: Client) -> None:
    api.interfere = lambda _request: web.Response(text='{"kind": "Job", "meta')
    with pytest.raises(errors.UnreachableError, match="cut short"):
        await client.get(JOB, "ns", "a")

    def drop(request: web.Request) -> None:
        assert request.transport is not None
        request.transport.close()

    api.interfere = drop  # type: ignore[assignment]
    with pytest.raises(errors.UnreachableError):
        await client.create(JOB, "ns", SEEN)
    api.url = "http://127.0.0.1:1"
    nowhere = Client(api.connection())
    with pytest.raises(errors.UnreachableError):
        await nowhere.get(JOB, "ns", "a")
    await nowhere.close()


async def test_an_answer_that_takes_too_long_is_unreachable() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    api = FakeApi(())
    api.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = Client(api.connection(), timeouts=Timeouts(read_s=0.05))
    with pytest.raises(errors.UnreachableError, match="timed out"):
        await client.get(JOB, "ns", "a")
    await client.close()
    server.close()
    await server.wait_closed()


async def test_a_delete_names_what_it_saw(api: FakeApi, client: Client) -> None:
    api.interfere = lambda _request: web.json_response({"kind": "Status", "status": "Success"})
    assert await client.delete(JOB, SEEN) is None
    assert api.asked() == ["DELETE /apis/batch/v1/namespaces/ns/jobs/a"]
    assert api.bodies[-1] == {
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u", "resourceVersion": "5"},
    }
    api.interfere = lambda _request: web.json_response({**SEEN, "kind": "Job"})
    assert await client.delete(JOB, SEEN) is not None, "finalizers hold it: what is left is returned"


async def test_applies_name_their_manager_and_scales_what_they_saw(api: FakeApi, client: Client) -> None:
    api.interfere = lambda _request: web.json_response(SEEN)
    await client.apply(SERVICE, "ns", SEEN)
    await client.apply(JOB, "ns", SEEN, status=True, force=False)
    await client.scale(JOB, SEEN, 3)
    first, second, third = api.requests
    assert (first[1], first[2]) == ("/api/v1/namespaces/ns/services/a", {"fieldManager": "fairlead", "force": "true"})
    assert second[1].endswith("/jobs/a/status")
    assert second[2] == {"fieldManager": "fairlead-status", "force": "false"}
    assert third[1].endswith("/jobs/a/scale")
    assert api.bodies[2] == {"metadata": {"uid": "u", "resourceVersion": "5"}, "spec": {"replicas": 3}}


async def test_lists_follow_their_chunks_and_items_have_kinds(api: FakeApi, client: Client) -> None:
    def page(request: web.Request) -> web.Response:
        last = request.query.get("continue") == "next"
        metadata = {"resourceVersion": "9"} | ({} if last else {"continue": "next"})
        item = {"metadata": {"name": "b" if last else "a", "namespace": "ns"}}
        return web.json_response({"metadata": metadata, "items": [item]})

    api.interfere = page
    pages = [one async for one in client.pages(JOB, None, "x=y")]
    assert [item["metadata"]["name"] for one in pages for item in one.items] == ["a", "b"]
    assert {item["kind"] for one in pages for item in one.items} == {"Job"}
    assert {one.version for one in pages} == {"9"}
    assert [query["labelSelector"] for _, _, query in api.requests] == ["x=y", "x=y"]


async def test_no_write_leaves_without_the_guards_leave_but_reads_do(api: FakeApi) -> None:
    def guard() -> None:
        raise errors.LeadershipLostError("not ours")

    client = Client(api.connection(), guard=guard)
    api.put(JOB, "a")
    await client.get(JOB, "ns", "a")
    for write in (
        client.create(JOB, "ns", SEEN),
        client.apply(JOB, "ns", SEEN),
        client.delete(JOB, SEEN),
        client.scale(JOB, SEEN, 1),
    ):
        with pytest.raises(errors.LeadershipLostError):
            await write
    assert {method for method, _, _ in api.requests} == {"GET"}
    await client.close()


async def test_requests_are_counted_by_method_and_code(api: FakeApi) -> None:
    counted: list[tuple[str, str]] = []
    client = Client(api.connection(), on_request=lambda method, code: counted.append((method, code)))
    assert await client.find(JOB, "ns", "absent") is None
    assert counted == [("GET", "404")]
    await client.close()


async def test_what_is_served_is_found_out_per_group_version(api: FakeApi, client: Client) -> None:
    assert "jobs" in await client.served("batch/v1")
    assert await client.served("gateway.networking.k8s.io/v1") == frozenset()


async def test_a_log_is_text(api: FakeApi, client: Client) -> None:
    api.interfere = lambda _request: web.Response(body=b"one\ntw\xff\n")
    assert await client.read_log("ns", "p", "main", 5) == "one\ntw\ufffd\n"
    assert api.requests[-1][2] == {"container": "main", "tailLines": "5", "limitBytes": "65536"}


def test_causes_come_in_one_order() -> None:
    """The API server walks maps in a new order each time; the same refusal must have the same words."""

    def refusal(*fields: str) -> str:
        causes = [{"field": field, "message": "bad", "reason": "FieldValueInvalid"} for field in fields]
        message = f'Job "a" is invalid: [{", ".join(f"{field}: bad" for field in fields)}]'
        return errors.error_of(422, {"message": message, "details": {"causes": causes}}, "create Job a").message

    assert refusal("spec.b", "spec.a") == refusal("spec.a", "spec.b")
    assert refusal("spec.b", "spec.a") == 'create Job a: Job "a" is invalid: [spec.a: bad, spec.b: bad]'
    assert refusal("spec.a") == 'create Job a: Job "a" is invalid: [spec.a: bad]'


@pytest.mark.parametrize(
    "text", ["\U0001f6a2", "\\ud83d\\udea2", "a\\\U0001f6a2", '"\n\x00\x1b\u0085\ufeff\u2028', "ü", "\U0001d7da\\"]
)
def test_what_is_applied_is_read_as_yaml(text: str) -> None:
    """JSON writes an emoji as a pair of escapes, which YAML refuses: a status with one was never written."""
    body = {"status": {"message": text, text or "a": 1}}
    sent = yaml_text(body)
    assert json.loads(sent) == body
    assert yaml.safe_load(sent) == body
