"""Where things lie in the object store, relative to the prefix of the installation.

A folder is written data first and its marker file last; a reader that finds no marker finds nothing.
"""

from __future__ import annotations

MANIFEST = "manifest.json"  # marker of a dataset revision and of a model artifact
RESULT = "result.json"  # marker of a run and of an evaluation
PROFILE = "profile.json"
CHECKS = "checks.json"
SIGNATURE = "signature.json"
LINEAGE = "lineage.json"
CARD = "card.html"
CARD_JSON = "card.json"
REPORT_HTML = "report.html"
REPORT_JSON = "report.json"


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def dataset_revision(namespace: str, name: str, revision: str) -> str:
    """Return the folder of a frozen revision: manifest.json data/part-*.parquet profile.json checks.json."""
    return f"datasets/{namespace}/{name}/{_hex(revision)}/"


def snapshot_attempts(namespace: str, name: str) -> str:
    """Return the folder of what a Dataset's snapshot Jobs left; it lies beside the revisions and is none."""
    return f"datasets/{namespace}/{name}/attempts/"


def snapshot_attempt(namespace: str, name: str, input_digest: str) -> str:
    """Return the folder of a snapshot Job's own result.json, also when its checks failed."""
    return f"{snapshot_attempts(namespace, name)}{_hex(input_digest)}/"


def run(namespace: str, name: str, uid: str) -> str:
    """Return the folder of a training run: result.json progress.json log-tail.txt."""
    return f"runs/{namespace}/{name}/{uid}/"


def model(namespace: str, family: str, digest: str) -> str:
    """Return the folder of an artifact: the files, signature.json lineage.json profile.json manifest.json."""
    return f"models/{namespace}/{family}/{_hex(digest)}/"


def evaluation(namespace: str, version: str, input_digest: str) -> str:
    """Return the folder of an evaluation: result.json card.html."""
    return f"evaluations/{namespace}/{version}/{_hex(input_digest)}/"


def captures(namespace: str, service: str, date: str, hour: str, version: str) -> str:
    """Return the folder of captured requests of one hour (UTC, date YYYY-MM-DD, hour HH)."""
    return f"captures/{namespace}/{service}/{date}/{hour}/{version}/"


def feedback(namespace: str, service: str, date: str, hour: str) -> str:
    """Return the folder of feedback labels received in one hour (UTC)."""
    return f"captures/{namespace}/{service}/{date}/{hour}/feedback/"


def report(namespace: str, monitor: str, time: str) -> str:
    """Return the folder of a drift report: report.html report.json; time is YYYYMMDDTHHMMZ."""
    return f"reports/{namespace}/{monitor}/{time}/"
