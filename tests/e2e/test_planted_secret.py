"""A secret planted wherever users put secrets: it is in nothing that Fairlead says on a real cluster, or stores.

The same with pods that are played is in tests/integration/test_canary.py; here they are the real images. The only
place where it may be is the log of the user's own container, which printed it.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator

from tests.e2e import asking, flights
from tests.e2e.team import SYSTEM, Team, condition, eventually, kubectl, manifest

CANARY = f"c4n4ry-{secrets.token_hex(8)}"
SHOUTS = (
    "import os, sys; s = os.environ['API_TOKEN']\n"
    "sys.exit(f'cannot read https://lena:{s}@lake.example.com/x?token={s}; Authorization: Bearer {s}; password={s}')"
)
THEIRS = "train"  # the user's container beside ours


def test_a_planted_secret_is_in_nothing_that_is_said_or_stored(team: Team) -> None:
    plant(team)
    team.until_says("Dataset", "denied", "SourceDenied", 90)
    eventually(lambda: "lake.example.invalid" in said_of(team, "web"), "the unreachable source is not named", 120)
    assert "cannot read" in team.until_says("TrainingRun", "shouts", "ProgramFailed", 150)
    hostname = f"{team.namespace}.example.com"
    team.until_ready("ModelVersion", "flights-v1", 240)
    team.apply(manifest("InferenceService", "flights", flights.service_spec(hostname, capture={"percent": 100})))
    team.until_ready("InferenceService", "flights", 120)
    asking.until_answered(asking.by_gateway(hostname), flights.features(2))
    found = {where: around(text) for where, text in everything(team) if CANARY in text}
    assert not found, found


def plant(team: Team) -> None:
    team.apply(team.secret("lake", accessKey=CANARY, secretKey=CANARY))
    uri = team.put("flights.csv", flights.csv())
    lake = {"s3": {"uri": uri, "secretRef": {"name": "lake"}}}
    web = {"http": {"url": f"http://lena:{CANARY}@lake.example.invalid/rows.csv?token={CANARY}"}}
    container = {
        "image": "fairlead-jobs:dev",
        "command": ["python", "-c"],
        "args": [SHOUTS, "--password", CANARY],
        "env": [{"name": "API_TOKEN", "value": CANARY}],
        "hyperparameters": {"api_key": CANARY},
    }
    code = {"repository": f"https://lena:{CANARY}@git.example.com/flights.git", "commit": "3f2a91c"}
    team.apply(
        manifest("Dataset", "flights", flights.dataset_spec(uri)),
        manifest("Dataset", "denied", flights.dataset_spec(uri, source=lake)),
        manifest("Dataset", "web", flights.dataset_spec(uri, source=web)),
        manifest("TrainingRun", "shouts", flights.run_spec(trainer={"container": container}, code=code)),
        manifest("TrainingRun", "flights-v1", flights.run_spec(code=code)),
    )


def said_of(team: Team, dataset: str) -> str:
    return str(condition(team.get("Dataset", dataset), "Ready").get("message", ""))


def everything(team: Team) -> Iterator[tuple[str, str]]:
    """Yield where and what: status, events, metrics, logs, and every object of the store."""
    for obj in team.all_objects():
        yield f"status of {obj['kind']} {obj['metadata']['name']}", json.dumps(obj["status"])
    yield "events", team.kubectl("get", "events", "-o", "json")
    operators = json.loads(kubectl("get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator", "-ojson"))
    for pod in operators["items"]:
        name = pod["metadata"]["name"]
        yield f"log of {name}", kubectl("logs", "-n", SYSTEM, name)
        path = f"/api/v1/namespaces/{SYSTEM}/pods/{name}:8080/proxy/metrics"
        yield f"metrics of {name}", kubectl("get", "--raw", path)
    yield from by_pods(team)
    keys = team.stored("")
    assert any(key.endswith("card.html") for key in keys), "there is no report to look into"
    for key in keys:
        yield f"{key} in the store", team.read(key).decode("latin-1")


def by_pods(team: Team) -> Iterator[tuple[str, str]]:
    for pod in team.children("pods"):
        name, spec = pod["metadata"]["name"], pod["spec"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            if container["name"] != THEIRS:
                words = ("logs", "-n", team.namespace, name, "-c", container["name"])
                yield f"log of {name} {container['name']}", kubectl(*words, check=False)
        ports = [p for c in spec["containers"] for p in c.get("ports", ()) if p.get("name") == "metrics"]
        for port in ports:
            path = f"/api/v1/namespaces/{team.namespace}/pods/{name}:{port['containerPort']}/proxy/metrics"
            text = kubectl("get", "--raw", path)
            assert "fairlead" in text
            yield f"metrics of {name}", text


def around(text: str) -> str:
    """Return some words before the secret, for the failure's message."""
    found = re.search(f".{{0,60}}{CANARY}", text, re.DOTALL)
    return found[0].replace(CANARY, "<the secret>") if found else ""
