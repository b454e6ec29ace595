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


def _folder(*parts: str) -> str:
    """Return the parts as a folder; ValueError when one is no single name, which would lead to another's folder.

    Empty parts at the end are for those who want what all such folders begin with.
    """
    for part in "\0".join(parts).rstrip("\0").split("\0"):
        if part in ("", ".", "..") or "/" in part or "\\" in part or not part.isprintable():
            raise ValueError(f"{part!r} cannot be part of a key in the object store")
    return "/".join(parts) + "/"


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def dataset_revision(namespace: str, name: str, revision: str) -> str:
    """Return the folder of a frozen revision: manifest.json data/part-*.parquet profile.json checks.json."""
    return _folder("datasets", namespace, name, _hex(revision))


def snapshot_attempts(namespace: str, name: str) -> str:
    """Return the folder of what a Dataset's snapshot Jobs left; it lies beside the revisions and is none."""
    return _folder("datasets", namespace, name, "attempts")


def snapshot_attempt(namespace: str, name: str, input_digest: str) -> str:
    """Return the folder of a snapshot Job's own result.json, also when its checks failed."""
    return snapshot_attempts(namespace, name) + _folder(_hex(input_digest))


def run(namespace: str, name: str, uid: str) -> str:
    """Return the folder of a training run: result.json progress.json log-tail.txt."""
    return _folder("runs", namespace, name, uid)


def model(namespace: str, family: str, digest: str) -> str:
    """Return the folder of an artifact: the files, signature.json lineage.json profile.json manifest.json."""
    return _folder("models", namespace, family, _hex(digest))


def models(namespace: str) -> str:
    """Return the folder of all artifacts of a namespace."""
    return _folder("models", namespace)


def evaluation(namespace: str, version: str, input_digest: str) -> str:
    """Return the folder of an evaluation: result.json card.html."""
    return _folder("evaluations", namespace, version, _hex(input_digest))


def captures(namespace: str, service: str, date: str, hour: str, version: str) -> str:
    """Return the folder of captured requests of one hour (UTC, date YYYY-MM-DD, hour HH)."""
    return _folder("captures", namespace, service, date, hour, version)


def feedback(namespace: str, service: str, date: str, hour: str) -> str:
    """Return the folder of feedback labels received in one hour (UTC)."""
    return _folder("captures", namespace, service, date, hour, "feedback")


def replay(namespace: str, service: str, input_digest: str) -> str:
    """Return the folder of a replay: result.json."""
    return _folder("captures", namespace, service, "replays", _hex(input_digest))


def comparison(namespace: str, service: str, input_digest: str) -> str:
    """Return the folder of a comparison of captured answers: report.json."""
    return _folder("comparisons", namespace, service, _hex(input_digest))


def report(namespace: str, monitor: str, time: str) -> str:
    """Return the folder of a drift report: report.html report.json; time is YYYYMMDDTHHMMZ."""
    return _folder("reports", namespace, monitor, time)


def rollout(namespace: str, service: str, name: str) -> str:
    """Return the folder of a rollout's report: report.html report.json; name is YYYYMMDDTHHMMSSZ-<version>."""
    return _folder("rollouts", namespace, service, name)
