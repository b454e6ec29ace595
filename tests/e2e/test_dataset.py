"""Datasets on the real cluster: each source and format, and every way in which upstream goes wrong."""

from __future__ import annotations

import io
import json

from pyarrow import csv
from pyarrow import parquet as pq
from tests.e2e import flights
from tests.e2e.team import Team, condition, eventually, is_ready, kubectl, manifest

SMALL = b"id,amount,channel,late\n" + b"".join(
    f"{n},{n * 1.5},{'web' if n % 3 else 'pos'},{n % 2}\n".encode() for n in range(400)
)


def spec(uri: str, **changes: object) -> dict[str, object]:
    said = {"source": {"s3": {"uri": uri}}, "format": "CSV", "target": "late", "identifiers": ["id"]}
    return {**said, "resources": flights.MODEST, **changes}


def test_config_map_source_with_every_check(team: Team) -> None:
    data = {"rows.csv": SMALL.decode()}
    team.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows"}, "data": data})
    checks = [
        {"name": "rows", "rowCount": {"min": 100, "max": 1000}},
        {"name": "key", "column": "id", "notNull": {}},
        {"name": "once", "column": "id", "unique": {}},
        {"name": "range", "column": "amount", "between": {"min": 0, "max": 1000}},
        {"name": "channels", "column": "channel", "allowed": {"values": ["web", "pos"]}},
        {"name": "words", "column": "channel", "matches": {"pattern": "[a-z]+"}},
    ]
    source = {"configMap": {"name": "rows", "key": "rows.csv"}}
    team.apply(manifest("Dataset", "rows", spec("s3://x/y", source=source, checks=checks)))
    dataset = team.until_ready("Dataset", "rows")
    assert dataset["status"]["rows"] == 400
    folder = f"datasets/{team.namespace}/rows/{dataset['status']['revision'].removeprefix('sha256:')}/"
    assert {key.removeprefix(folder).split("/")[0] for key in team.stored(folder)} == {
        "data", "manifest.json", "profile.json", "checks.json",
    }  # fmt: skip


def test_json_lines_and_parquet(team: Team) -> None:
    table = csv.read_csv(io.BytesIO(SMALL))
    out = io.BytesIO()
    pq.write_table(table, out)
    lines = "\n".join(json.dumps(row) for row in table.to_pylist()).encode()
    team.apply(
        manifest("Dataset", "lines", spec(team.put("rows.jsonl", lines), format="JSONLines")),
        manifest("Dataset", "parquet", spec(team.put("rows.parquet", out.getvalue()), format="Parquet")),
    )
    rows = {name: team.until_ready("Dataset", name)["status"]["rows"] for name in ("lines", "parquet")}
    assert rows == {"lines": 400, "parquet": 400}


def test_a_source_on_a_volume_and_one_behind_http(team: Team) -> None:
    team.apply(*_volume_with_rows(team))
    team.kubectl("wait", "--for=condition=Ready", "pod/files", "--timeout=180s")
    volume = {"persistentVolumeClaim": {"name": "rows", "path": "rows.csv"}}
    http = {"http": {"url": f"http://files.{team.namespace}.svc:8000/rows.csv"}}
    team.apply(
        manifest("Dataset", "volume", spec("s3://x/y", source=volume)),
        manifest("Dataset", "web", spec("s3://x/y", source=http)),
    )
    volume_revision = team.until_ready("Dataset", "volume", 120)["status"]["revision"]
    assert team.until_ready("Dataset", "web", 120)["status"]["revision"] == volume_revision, "same bytes, same revision"


def test_upstream_goes_wrong_and_the_last_valid_revision_stays(team: Team) -> None:
    uri = team.put("rows.csv", SMALL)
    checks = [{"name": "key", "column": "id", "notNull": {}}]
    team.apply(manifest("Dataset", "rows", spec(uri, checks=checks)))
    first = team.until_ready("Dataset", "rows")["status"]["revision"]
    broken = {
        "SchemaMismatch": SMALL.replace(b"amount", b"total"),
        "NullsFound": SMALL.replace(b"\n7,", b"\n,"),
        "MalformedSource": SMALL + b"1,2\n",
    }
    for number, (reason, body) in enumerate(broken.items()):
        team.put("rows.csv", body)
        _refresh(team, number)
        message = team.until_says("Dataset", "rows", reason, 90)
        assert "stays current" in message
        dataset = team.get("Dataset", "rows")
        assert dataset is not None
        assert dataset["status"]["revision"] == first
        assert condition(dataset, "Validated")["status"] == "False"
    team.put("rows.csv", SMALL)
    _refresh(team, 99)
    assert team.until("Dataset", "rows", is_ready)["status"]["revision"] == first
    eventually(lambda: len(team.children("jobs", "rows")) <= 3, "more than the last three Jobs are there")


def test_a_truncated_file_and_an_absent_target_column(team: Team) -> None:
    out = io.BytesIO()
    pq.write_table(csv.read_csv(io.BytesIO(SMALL)), out)
    uri = team.put("rows.parquet", out.getvalue()[:-100])
    team.apply(
        manifest("Dataset", "rows", spec(uri, format="Parquet")),
        manifest("Dataset", "untargeted", spec(team.put("rows.csv", SMALL), target="tardy")),
    )
    assert "rows.parquet" in team.until_says("Dataset", "rows", "MalformedSource", 90)
    assert "tardy" in team.until_says("Dataset", "untargeted", "TargetMissing", 90)


def test_an_absent_source_and_wrong_credentials_name_the_remedy(team: Team) -> None:
    uri = team.put("rows.csv", SMALL)
    team.apply(team.secret("lake", accessKey="nobody", secretKey="wrong-secret-key"))
    elsewhere = {"s3": {"uri": uri, "secretRef": {"name": "lake"}}}
    team.apply(
        manifest("Dataset", "absent", spec(uri + ".not-there")),
        manifest("Dataset", "denied", spec(uri, source=elsewhere)),
    )
    assert "not-there" in team.until_says("Dataset", "absent", "SourceNotFound")
    message = team.until_says("Dataset", "denied", "SourceDenied")
    assert "wrong-secret-key" not in message


def test_a_missing_and_a_wrong_store_secret_are_named_and_a_right_one_is_enough(team: Team) -> None:
    uri = team.put("rows.csv", SMALL)
    kubectl("delete", "secret", "fairlead-store", "-n", team.namespace)
    team.apply(manifest("Dataset", "rows", spec(uri)))
    message = team.until_says("Dataset", "rows", "StoreSecretMissing")
    assert "fairlead-store" in message
    team.apply(team.secret(secretKey="not-the-right-one"))
    message = team.until_says("Dataset", "rows", "StoreDenied", 90)
    assert "not-the-right-one" not in message
    team.apply(team.secret())
    team.until_ready("Dataset", "rows", 180)


def test_the_store_goes_down_in_the_middle_and_comes_back(team: Team) -> None:
    uri = team.put("rows.csv", flights.csv())
    team.apply(team.secret(endpoint="http://object-store.object-store.svc:9"))
    source = {"s3": {"uri": uri, "secretRef": {"name": "lake"}}}
    team.apply(team.secret("lake"))  # the source is reached, the store is not: nothing may be lost or half written
    team.apply(manifest("Dataset", "flights", flights.dataset_spec(uri, source=source)))
    team.until_says("Dataset", "flights", "StoreUnreachable", 90)
    assert not team.stored("datasets/")
    team.apply(team.secret())
    dataset = team.until_ready("Dataset", "flights", 240)
    assert dataset["status"]["rows"] == flights.ROWS


def _refresh(team: Team, number: int) -> None:
    team.patch("Dataset", "rows", {"metadata": {"annotations": {"fairlead.dev/refresh": str(number)}}})


def _volume_with_rows(team: Team) -> list[dict[str, object]]:
    """Return a claim, a pod that writes the rows on it and serves them over HTTP, and its Service."""
    secure = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    program = (
        "import http.server, os, sys; os.chdir('/rows'); open('rows.csv', 'w').write(os.environ['ROWS']);"
        " http.server.test(http.server.SimpleHTTPRequestHandler, port=8000)"
    )
    container = {
        "name": "files",
        "image": "fairlead-operator:dev",
        "command": ["python", "-c", program],
        "env": [{"name": "ROWS", "value": SMALL.decode()}],
        "volumeMounts": [{"name": "rows", "mountPath": "/rows"}],
        "readinessProbe": {"httpGet": {"path": "/rows.csv", "port": 8000}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m"}},
        "securityContext": secure,
    }
    pod_spec = {
        "securityContext": {"fsGroup": 65532},
        "containers": [container],
        "volumes": [{"name": "rows", "persistentVolumeClaim": {"claimName": "rows"}}],
    }
    claim_spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "rows"}, "spec": claim_spec},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "files", "labels": {"app": "files"}},
            "spec": pod_spec,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "files"},
            "spec": {"selector": {"app": "files"}, "ports": [{"port": 8000}]},
        },
    ]
