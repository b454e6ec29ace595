from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from fairlead.api.redaction import redact
from fairlead.app.logging import JsonFormatter, TextFormatter, set_up_logging

CANARY = "canary5ecretV4lue"


def record(message: str, *args: object, exc: bool = False, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("fairlead.test", logging.WARNING, __file__, 1, message, args, None)
    vars(made).update(extra)
    if exc:
        try:
            raise ValueError(f"password={CANARY}")
        except ValueError:
            made.exc_info = sys.exc_info()
    return made


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"authorization: bearer {CANARY}",
        f"secretKey={CANARY}",
        f'{{"accessKey": "{CANARY}"}}',
        f"password={CANARY}&x=1",
        f"FAIRLEAD_STORE_SECRET_KEY={CANARY}",
        f"https://user:{CANARY}@s3.example.com/bucket",
        f"token: {CANARY}",
        f"eyJhbGciOiJSUzI1NiJ9.{CANARY}.{CANARY}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_credential_is_never_written(text: str) -> None:
    assert CANARY not in redact(text)
    assert CANARY not in JsonFormatter().format(record("%s", text))
    assert CANARY not in TextFormatter().format(record("%s", text))
    assert CANARY not in JsonFormatter().format(record("x", detail=text))


def test_plain_words_stay() -> None:
    text = "Job ns/train-1: the Secret fairlead-store is absent; create it with keys endpoint, bucket"
    assert redact(text) == text


def test_a_traceback_is_redacted_too() -> None:
    entry = json.loads(JsonFormatter().format(record("failed", exc=True)))
    assert "ValueError" in entry["trace"]
    assert CANARY not in json.dumps(entry)


def test_a_value_cannot_forge_a_line() -> None:
    forged = 'x\n2026-01-01T00:00:00.000Z error fairlead: "all lost"\r\x1b[31m\u2028'
    assert len(TextFormatter().format(record("%s", forged)).splitlines()) == 1
    assert len(JsonFormatter().format(record("%s", forged)).splitlines()) == 1


def test_json_lines_have_the_fields_that_people_search_for() -> None:
    entry = json.loads(JsonFormatter().format(record("%d done", 3, kind="Dataset")))
    assert entry["message"] == "3 done"
    assert entry["level"] == "warning"
    assert entry["logger"] == "fairlead.test"
    assert entry["kind"] == "Dataset"
    assert entry["time"].endswith("Z")


def test_set_up_sends_everything_to_one_stream_and_quiets_kopf() -> None:
    root, before = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level)
    stream = io.StringIO()
    try:
        set_up_logging("json", "info", stream)
        logging.getLogger("fairlead.x").info("hello")
        logging.getLogger("kopf.y").info("chatter")
    finally:
        root.handlers[:], root.level = before
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["hello"]
