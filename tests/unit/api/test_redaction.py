"""What looks like a credential goes, by its text or by what it is called; everything else stays."""

from __future__ import annotations

import json

import pytest

from fairlead.api.redaction import redact, redact_tree, redact_words

PLANTED = "Zx81-canary-value"


@pytest.mark.parametrize(
    "text",
    [
        f"password: {PLANTED}",
        f"AWS_SECRET_ACCESS_KEY={PLANTED}",
        f"api_key={PLANTED}",
        f"Authorization: Bearer {PLANTED}",
        f"s3://user:{PLANTED}@host/bucket",
        f"https://b.s3/x?X-Amz-Credential={PLANTED}&X-Amz-Signature={PLANTED}",
    ],
)
def test_credentials_in_text_go(text: str) -> None:
    assert PLANTED not in redact(text)


def test_keys_that_are_known_by_their_form_go() -> None:
    assert redact("id AKIAABCDEFGHIJKLMNOP of ghp_abcdefghij0123456789") == "id *** of ***"


def test_objects_keep_their_shape_and_lose_what_is_called_a_credential() -> None:
    container = {
        "command": ["run", "--password", PLANTED, "--rows", "5"],
        "env": [
            {"name": "DB_PASSWORD", "value": PLANTED},
            {"name": "MODE", "value": "fast"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "lake", "key": "secretKey"}}},
        ],
    }
    annotations = {"fairlead.dev/input": json.dumps({"trainer": {"container": container}})}
    obj = {"metadata": {"annotations": annotations}, "spec": {"secretKey": PLANTED, "secretName": "lake", "n": 1}}
    shown = redact_tree(obj)
    assert PLANTED not in json.dumps(shown)
    assert shown["spec"] == {"secretKey": "***", "secretName": "lake", "n": 1}
    said = json.loads(shown["metadata"]["annotations"]["fairlead.dev/input"])["trainer"]["container"]
    assert said["command"] == ["run", "--password", "***", "--rows", "5"]
    assert said["env"][1:] == container["env"][1:]


def test_plain_words_stay() -> None:
    text = "Secret fairlead-store lacks bucket; the token bucket has 5 tokens left."
    assert redact(text) == text
    assert redact_tree({"message": text, "items": [1, None, True]}) == {"message": text, "items": [1, None, True]}


def test_in_a_status_only_what_quotes_others_is_redacted() -> None:
    said = "password=hunter2-hunter2"
    status = {
        "lastCheck": {"message": said, "at": "2026"},
        "failure": {"tail": ["ok", said]},
        "stable": {"artifact": {"uri": f"s3://lake/{said}/"}},
        "history": [{"message": said, "outcome": said}],
        "rows": 3,
    }
    found = redact_words(status)
    hidden = "password=***"
    assert found["lastCheck"] == {"message": hidden, "at": "2026"}
    assert found["failure"] == {"tail": ["ok", hidden]}
    assert found["stable"] == status["stable"]  # a pod is made of it
    assert found["history"] == [{"message": hidden, "outcome": said}]
    assert redact_words(found) == found
