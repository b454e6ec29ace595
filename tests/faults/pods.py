"""What the pods of a scenario would do: the result document of each Job, and the counters of each server.

Everything follows from the input document, so that two runs of a scenario find the same. A model whose TrainingRun
has the seed BAD_SEED fails a third of its live requests, though its gates pass.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from aiohttp import web

from fairlead.api import names
from fairlead.contract import keys
from fairlead.contract.drift import FeatureDrift
from fairlead.contract.gates import GateOutcome, GateResult
from fairlead.contract.jobs import (
    ArmReport,
    CleanupSummary,
    ErrorInfo,
    EvaluateSummary,
    MonitorSummary,
    ReportSummary,
    SnapshotSummary,
    TrainSummary,
)

Json = dict[str, Any]
BAD_SEED = 3
DRIFT_FROM = 29_000_100  # windows from this scheduled minute on have drifted


def digest(*parts: object) -> str:
    """Return a digest that is the same in every run."""
    return "sha256:" + hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()


def model_digest(seed: int) -> str:
    """Return the digest of the model that a TrainingRun with this seed makes."""
    return digest("model", seed)


def input_of(pod: Json) -> Json:
    """Return the input document of a pod (or of a pod template)."""
    return dict(json.loads((pod["metadata"].get("annotations") or {})[names.ANNOTATION_INPUT]))


class ResultStore:
    """The object store of one namespace, as far as results lie in it."""

    def __init__(self) -> None:
        self._results: dict[str, str] = {}

    def result(self, document: Json, input_digest: str, job: str) -> str:
        """Return the termination message of the Job that gets this document."""
        make = getattr(self, f"_{document['kind'].lower()}")
        return str(make(document, input_digest, job))

    def _snapshot(self, document: Json, _input: str, _job: str) -> str:
        revision = digest("revision", document["name"])
        counts = {"rows": 1000, "columns": 5, "train_rows": 700, "validation_rows": 100, "test_rows": 200}
        return SnapshotSummary(valid=True, revision=revision, bytes=4096, **counts).model_dump_json(by_alias=True)

    def _train(self, document: Json, _input: str, _job: str) -> str:
        made = TrainSummary(
            digest=model_digest(document["seed"]),
            format="onnx",
            size_bytes=2048,
            metrics={"accuracy": 0.9},
            lineage={"framework": "scikit-learn 1.7"},
            train_rows=700,
        ).model_dump_json(by_alias=True)
        place = keys.run(document["namespace"], document["name"], document["uid"]) + keys.RESULT
        self._results[place] = made
        return made

    def _collect(self, document: Json, _input: str, _job: str) -> str:
        found = self._results.get(document["resultKey"])
        return found or ErrorInfo(reason="ResultLost", message="nothing there").model_dump_json(by_alias=True)

    def _evaluate(self, document: Json, input_digest: str, _job: str) -> str:
        passed = [
            GateResult(name=gate["name"], outcome=GateOutcome.PASSED, value=0.9, limit=0.5, rows=200)
            for gate in document.get("gates") or ()
        ]
        found = EvaluateSummary(input_digest=input_digest, rows=200, metrics={"accuracy": 0.9}, gates=passed)
        return found.model_dump_json(by_alias=True)

    def _monitor(self, document: Json, _input: str, job: str) -> str:
        minute = int(job.rsplit("-", 1)[1])
        drifted = minute >= DRIFT_FROM
        worst = [FeatureDrift(name="delay", test="KS", effect=0.4, p_value=0.0001, drifted=True)] if drifted else []
        found = MonitorSummary(
            window_start=f"2026-01-01T{minute % 20:02d}:00:00Z",
            window_end=f"2026-01-01T{minute % 20 + 1:02d}:00:00Z",
            rows=1000,
            enough_rows=True,
            features=5,
            drifted_features=len(worst),
            worst=worst,
            data_drift=drifted,
            report_key=f"reports/{document['name']}/{minute}",
        )
        return found.model_dump_json(by_alias=True)

    def _report(self, document: Json, _input: str, _job: str) -> str:
        place = keys.rollout(document["namespace"], document["name"], document["rollout"]["modelVersion"])
        return ReportSummary(report_key=f"{place}report.html").model_dump_json(by_alias=True)

    def _cleanup(self, _document: Json, _input: str, _job: str) -> str:
        return CleanupSummary().model_dump_json(by_alias=True)


class Servers:
    """The serving pods of all scenarios: each has an address of its own in 127/8 and answers /arm there."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reports: dict[str, Json] = {}
        self._sites: dict[str, web.TCPSite] = {}
        self._next = 0
        app = web.Application()
        app.router.add_get("/arm", self._arm)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start(self) -> None:
        """Get ready to listen."""
        await self._runner.setup()

    async def stop(self) -> None:
        """Stop listening everywhere."""
        await self._runner.cleanup()

    async def open(self, pod: Json) -> str:
        """Begin to answer for a pod; return its address."""
        self._next += 1
        address = f"127.{80 + self._next // 62500}.{self._next // 250 % 250}.{self._next % 250 + 1}"
        document = input_of(pod)
        bad = document["artifact"]["digest"] == model_digest(BAD_SEED)
        report = ArmReport(start_id=f"start-{address}", revision=document["revision"], requests=0, failed=0, slow=0)
        self.reports[address] = {**json.loads(report.model_dump_json(by_alias=True)), "bad": bad}
        site = self._sites[address] = web.TCPSite(self._runner, address, self.port)
        await site.start()
        return address

    async def close(self, address: str) -> None:
        """Stop answering for an address."""
        self.reports.pop(address, None)
        site = self._sites.pop(address, None)
        if site is not None:
            await site.stop()

    def serve(self, address: str, requests: int) -> None:
        """Let requests reach a pod: a bad one fails a third, every other one none."""
        report = self.reports.get(address)
        if report is not None:
            report["requests"] += requests
            report["failed"] += requests // 3 if report["bad"] else 0

    async def _arm(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        report = self.reports.get(address)
        if report is None:
            return web.Response(status=404)
        return web.json_response({name: value for name, value in report.items() if name != "bad"})
