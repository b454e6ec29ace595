"""The page about one object."""

from __future__ import annotations

import pytest

from fairlead.cli.why import WIDTH, render_why

from .objects import R1, R2, Obj, dataset, digest, monitor, ready, refusal, run, service, thing, version

GATES = [
    {"name": "floor", "outcome": "Passed", "message": "accuracy is 0.903 (0.899 to 0.907), at least 0.89."},
    {"name": "slices", "outcome": "Inconclusive", "message": "recall for channel=pos is unsure.", "missingRows": 1200},
]
EVALUATION = {
    "inputDigest": digest("e"),
    "dataset": "tx",
    "revision": R1,
    "split": "Test",
    "champion": "fraud-1",
    "rows": 15544,
    "metrics": {"roc_auc": 0.9036, "accuracy": 0.9033},
    "cardKey": "evaluations/fraud/fraud-3/card.html",
}
VERSION = version(
    "fraud-3",
    "c",
    {"required": True, "decision": "Approved", "by": "alice", "reason": "read the card"},
    conditions=ready("RejectedByService", "InferenceService fraud refused its bytes.", "False", Stalled="True"),
    gates=GATES,
    evaluation=EVALUATION,
    stage="Approved",
    approvedAt="2026-11-21T11:53:57Z",
    rejectedBy=[{"inferenceService": "fraud", **refusal("fraud-3", "c")}],
    lineage={"trainingRun": "fraud-3", "python": "3.13.5"},
)
GOLDEN_VERSION = f"""\
ModelVersion fraud-3: Stalled, RejectedByService
  InferenceService fraud refused its bytes.

Conditions
  Ready is False: RejectedByService, since 2026-11-21T11:50:00Z.
  Stalled is True: RejectedByService, since 2026-11-21T11:50:00Z.

Gates
  Passed floor: accuracy is 0.903 (0.899 to 0.907), at least 0.89.
  Inconclusive slices: recall for channel=pos is unsure. About 1,200 more rows would decide.

Evaluation
  15,544 rows of the Test split of tx
    {R1}, against fraud-1
  accuracy 0.9033, roc_auc 0.9036
  Model card: evaluations/fraud/fraud-3/card.html
  Evaluation digest: {digest("e")}

Approval
  Approved by alice: read the card
  Approved since 2026-11-21T11:53:57Z; stage Approved

Refused
  InferenceService fraud at 12:09:30Z: ErrorRate. Canary failed 19.4 % of 278 requests, baseline 0.0
    % of 279: more than 3 points worse.

Lineage
  bytes: {digest("c")}
  python: 3.13.5
  trainingRun: fraud-3"""

SIGNAL = {
    "name": "errors",
    "required": True,
    "limitPoints": 3.0,
    "canaryPercent": 19.4,
    "baselinePercent": 0.0,
    "canaryRequests": 1278,
    "baselineRequests": 279,
    "failLogE": 2.5,
    "failAt": 3.689,
    "passLogE": -1.0,
    "passAt": 2.996,
    "requestsNeeded": 1337,
}
SERVICE = service(
    conditions=ready("CanaryProgressing", "Version fraud-3 gets 5 % of the requests.", "False", Reconciling="True"),
    canary={"version": "fraud-3", "digest": digest("c"), "name": "fraud-cccc", "readyReplicas": 1},
    rollout={"state": "Step", "step": 1, "weight": 5, "stateSince": "11:53:56Z", "signals": [SIGNAL]},
    traffic=[{"role": "canary", "revision": "fraud-cccc", "requested": 5, "programmed": 5, "measured": 4.8}],
    rejected=[],
    url="http://fraud.example.com",
    history=[{"version": "fraud-2", "outcome": "Promoted", "reason": "Passed", "message": "All.", "endedAt": "11:40Z"}],
)
GOLDEN_SERVICE = f"""\
InferenceService fraud: Working, CanaryProgressing
  Version fraud-3 gets 5 % of the requests.

Conditions
  Ready is False: CanaryProgressing, since 2026-11-21T11:50:00Z.
  Reconciling is True: CanaryProgressing, since 2026-11-21T11:50:00Z.

Revisions
  stable: fraud-2, revision fraud-bbbb, 2 ready, bytes
    {digest("b")}
  canary: fraud-3, revision fraud-cccc, 1 ready, bytes
    {digest("c")}

Rollout
  Step, step 1, 5 % since 11:53:56Z
  errors: canary 19.4 % of 1,278 requests, baseline 0 % of 279, limit +3 points; evidence that it is
    worse 2.5 of 3.689, that it is not -1 of 2.996; about 1,337 more canary requests if both are
    equal

Traffic
  canary fraud-cccc: requested 5 %, programmed 5 %, measured 4.8 %

Address
  http://fraud.example.com

Last rollouts
  11:40Z fraud-2 Promoted: Passed. All."""

WINDOW = {
    "start": "11:55Z",
    "end": "11:56Z",
    "rows": 5823,
    "version": "fraud-2",
    "features": 6,
    "driftedFeatures": 1,
    "worst": [{"name": "amount", "test": "KS", "effect": 0.2, "pValue": 2.8e-184, "drifted": True}],
    "predictions": {"test": "JS", "effect": 0.136, "threshold": 0.1},
    "performance": {"metric": "accuracy", "value": 0.83, "low": 0.822, "high": 0.838, "labels": 5711, "reference": 0.9},
    "reportKey": "reports/fraud/fraud/20261121T1156Z/report.html",
}
GOLDEN_MONITOR = """\
DriftMonitor fraud: Ready, Monitoring
  The newest window has 6,837 requests.

Conditions
  Ready is True: Monitoring, since 2026-11-21T11:50:00Z.
  DataDrift is True: Drifted, since 2026-11-21T11:50:00Z. 2 of 6 features drifted.

Newest window
  5,823 requests from 11:55Z to 11:56Z, answered by fraud-2: 1 of 6 features drifted
  amount: KS 0.200, p 2.8e-184, drifted
  Predictions: JS 0.136, limit 0.1
  accuracy: 0.830 (0.822 to 0.838) on 5,711 labels; its evaluation had 0.900
  Report: reports/fraud/fraud/20261121T1156Z/report.html

Retrainings
  A wanted retraining waits: Cooldown
  2026-11-21T11:56:00Z fraud-2611: Drift, not ended"""

BAD_READ = {
    "at": "2026-11-21T12:00:00Z",
    "valid": False,
    "reason": "ChecksFailed",
    "message": "1 of 2 checks failed.",
    "failedChecks": [{"name": "user", "column": "user_id", "count": 3, "message": "3 nulls.", "rows": [4, 9, 17]}],
}
DATASET = dataset(
    conditions=ready("ChecksFailed", "1 of 2 checks failed.", "False", Stalled="True"),
    lastCheck=BAD_READ,
    nextRefresh="2026-11-21T13:00:00Z",
    revisions=[{"revision": R1, "rows": 77911, "at": "11:50Z"}, {"revision": R2, "rows": 70000, "at": "10:50Z"}],
)
GOLDEN_DATASET = f"""\
Dataset tx: Stalled, ChecksFailed
  1 of 2 checks failed.

Conditions
  Ready is False: ChecksFailed, since 2026-11-21T11:50:00Z.
  Stalled is True: ChecksFailed, since 2026-11-21T11:50:00Z.

Current revision
  {R1}: 77,911 rows (train
    54,554, validation 7,813, test 15,544), 10 columns

Newest read
  At 2026-11-21T12:00:00Z: ChecksFailed: 1 of 2 checks failed.
  Failed user of user_id: 3 nulls. (rows 4, 9, 17)
  Next at 2026-11-21T13:00:00Z

Earlier revisions
  {R2}, 70,000 rows, 10:50Z"""

RUN = run(
    "fraud-4",
    conditions=ready("ProgramFailed", "The program ended with exit code 3.", "False", Stalled="True"),
    outcome="Failed",
    programFailures=3,
    failure={"reason": "ProgramFailed", "exitCode": 3, "message": "exit code 3.", "tail": ["Traceback", "KeyError: x"]},
)
GOLDEN_RUN = """\
TrainingRun fraud-4: Stalled, ProgramFailed
  The program ended with exit code 3.

Conditions
  Ready is False: ProgramFailed, since 2026-11-21T11:50:00Z.
  Stalled is True: ProgramFailed, since 2026-11-21T11:50:00Z.

Failure
  ProgramFailed, exit code 3: exit code 3.
  Traceback
  KeyError: x

Lost attempts
  3 of the program"""


@pytest.mark.parametrize(
    ("obj", "page"),
    [
        (VERSION, GOLDEN_VERSION),
        (SERVICE, GOLDEN_SERVICE),
        (monitor(lastWindow=WINDOW, retrainBlocked="Cooldown"), GOLDEN_MONITOR),
        (DATASET, GOLDEN_DATASET),
        (RUN, GOLDEN_RUN),
    ],
    ids=["version", "service", "monitor", "dataset", "run"],
)
def test_the_page_of_each_kind(obj: Obj, page: str) -> None:
    assert render_why(obj) == page


@pytest.mark.parametrize("kind", ["Dataset", "TrainingRun", "ModelVersion", "InferenceService", "DriftMonitor"])
def test_an_object_that_nobody_looked_at_has_a_page_too(kind: str) -> None:
    page = render_why(thing(kind, "x", {}))
    assert page.startswith(f"{kind} x: Working, NotSeenYet")
    assert all(len(line) <= WIDTH for line in page.splitlines())
