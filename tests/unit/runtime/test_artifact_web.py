"""An artifact at an https:// folder: its digest is pinned, what is not there is said, and no secret is shown."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.graphs import SIGNATURE, linear

from fairlead.contract import keys
from fairlead.contract.jobs import ArtifactRef
from fairlead_runtime import artifact
from fairlead_runtime.artifact import describe_artifact, fetch_artifact
from fairlead_runtime.errors import BadInput, JobError, StoreError
from fairlead_runtime.store import LocalStore


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "web"
    (folder / "models" / "tumor").mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder / "models" / "tumor", f"http://127.0.0.1:{server.server_address[1]}/models/tumor"
    server.shutdown()
    server.server_close()
    thread.join()


def put(folder: Path) -> str:
    """Write model and signature and return their digest."""
    files: dict[str, bytes | Path] = {
        "model.onnx": linear(),
        keys.SIGNATURE: json.dumps(SIGNATURE.to_json_object()).encode(),
    }
    for name, data in files.items():
        assert isinstance(data, bytes)
        (folder / name).write_bytes(data)
    return describe_artifact("onnx", files, {}).digest


def fetched(tmp_path: Path, uri: str, digest: str, form: str = "onnx") -> list[str]:
    into = Path(tempfile.mkdtemp(dir=tmp_path))
    reference = ArtifactRef(namespace="a", model="tumor", version="tumor-1", digest=digest, uri=uri, format=form)
    fetch_artifact(LocalStore(tmp_path), reference, into)
    return sorted(path.name for path in into.iterdir() if path.stat().st_size)


def failed(tmp_path: Path, uri: str, digest: str, form: str = "onnx") -> JobError:
    with pytest.raises(JobError) as error:
        fetched(tmp_path, uri, digest, form)
    return error.value


def test_files_of_the_format_come_with_what_lies_beside(tmp_path: Path, web: tuple[Path, str]) -> None:
    folder, uri = web
    digest = put(folder)
    (folder / keys.PROFILE).write_text("{}")
    assert fetched(tmp_path, f"{uri}/", digest) == ["model.onnx", keys.PROFILE, keys.SIGNATURE]


def test_other_bytes_are_refused_with_both_digests(tmp_path: Path, web: tuple[Path, str]) -> None:
    folder, uri = web
    digest = put(folder)
    (folder / "model.onnx").write_bytes(linear() + b"\0")
    error = failed(tmp_path, uri, digest)
    assert (error.reason, digest in error.message) == ("DigestMismatch", True)


def test_what_is_not_there_is_said(tmp_path: Path, web: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, uri = web
    digest = put(folder)
    error = failed(tmp_path, uri, digest, "lightgbm")
    assert isinstance(error, BadInput)
    assert (error.reason, f"{uri}/model.txt answers 404" in error.message) == ("ArtifactNotFound", True)
    secret = failed(tmp_path, f"{uri}?token=t0ken", digest)
    assert (secret.reason, "t0ken" in str(secret)) == ("UnsupportedUri", False)
    monkeypatch.setattr(artifact, "RETRY_DELAYS_S", ())
    nobody = failed(tmp_path, "https://127.0.0.1:9/models/", digest)
    assert (type(nobody), nobody.reason) == (StoreError, "ArtifactUnreachable")
