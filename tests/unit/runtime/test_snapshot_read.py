"""Reading: each format, each way to be broken, and each kind of source."""

from __future__ import annotations

import gzip
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.runtime.fake_s3 import SECRET_KEY, serving

from fairlead.contract.data import ColumnType, Format, HttpSource, S3Source, Source, VolumeSource
from fairlead_runtime.digest import file_entry
from fairlead_runtime.errors import BadInput, StoreError
from fairlead_runtime.snapshot.findings import BadSource
from fairlead_runtime.snapshot.infer import infer_type
from fairlead_runtime.snapshot.read import read_table
from fairlead_runtime.snapshot.source import SourceFile, fetch_source


def read(tmp_path: Path, form: Format, *contents: bytes) -> pa.Table:
    files = []
    for number, content in enumerate(contents):
        path = tmp_path / f"f{number}"
        path.write_bytes(content)
        files.append(SourceFile(file_entry(f"f{number}", path), path))
    return read_table(files, form, tmp_path)


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("form", "content", "reason", "words"),
    [
        (Format.CSV, b"a,b\n1,2\n3\n4,5\n6,7,8\n", "MalformedSource", ["f0, rows 2, 4", "expected 2", "2 such rows"]),
        (Format.CSV, b"a,a\n1,2\n", "MalformedSource", ["a name of its own"]),
        (Format.CSV, b"a,\n1,2\n", "MalformedSource", ["a name of its own"]),
        (Format.CSV, b"a\n\xff\xfe\n", "MalformedSource", ["UTF-8"]),
        (Format.CSV, b"", "EmptySource", ["no rows"]),
        (Format.CSV, b"a,b\n", "EmptySource", ["no rows"]),
        (Format.CSV, gzip.compress(b"a\n" + b"1\n" * 9999, mtime=0)[:-20], "MalformedSource", ["gzip"]),
        (Format.JSON_LINES, b'{"a": 1}\n\n{"a": \n', "MalformedSource", ["line 3"]),
        (Format.JSON_LINES, b'{"a": 1}\n[1]\n', "MalformedSource", ["line 2", "object"]),
        (Format.JSON_LINES, b'{"a": [1]}\n', "UnsupportedColumn", ["column a", "row 1"]),
        (Format.JSON_LINES, b"\n", "EmptySource", []),
        (Format.PARQUET, parquet(pa.table({"a": [1]}))[:-10], "MalformedSource", ["cut short"]),
        (Format.PARQUET, b"", "MalformedSource", []),
        (Format.PARQUET, parquet(pa.table({"a": [[1]]})), "UnsupportedColumn", ["list"]),
        (Format.PARQUET, parquet(pa.table({"a": pa.array([], pa.int64())})), "EmptySource", []),
    ],
)
def test_a_broken_file_says_what_and_where(
    tmp_path: Path, form: Format, content: bytes, reason: str, words: list[str]
) -> None:
    with pytest.raises(BadSource) as caught:
        read(tmp_path, form, content)
    assert caught.value.reason == reason
    for word in words:
        assert word in caught.value.message


def test_csv_keeps_text_as_it_is_and_knows_nulls(tmp_path: Path) -> None:
    table = read(tmp_path, Format.CSV, b'\xef\xbb\xbfa,b\n"x, ""y""\nz",NA\n,"NA"\n')
    assert table.to_pydict() == {"a": ['x, "y"\nz', None], "b": [None, "NA"]}


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    assert read(tmp_path, Format.CSV, gzip.compress(b"a\n1\n")).num_rows == 1


def test_json_lines_take_columns_as_they_come(tmp_path: Path) -> None:
    table = read(tmp_path, Format.JSON_LINES, b'{"a": 1, "b": "x"}\n{"b": 2, "c": true, "a": 1.5}\n{"a": null}\n')
    assert table.to_pydict() == {"a": [1.0, 1.5, None], "b": ["x", "2", None], "c": [None, True, None]}


def test_parquet_types_are_normalised(tmp_path: Path) -> None:
    source = pa.table(
        {
            "i": pa.array([1, 2], pa.int8()),
            "f": pa.array([1.5, float("nan")], pa.float32()),
            "d": pa.array(["a", "b"]).dictionary_encode(),
            "t": pa.array([0, 1], pa.timestamp("s")),
            "u": pa.array([2**64 - 1, 1], pa.uint64()),
        }
    )
    table = read(tmp_path, Format.PARQUET, parquet(source))
    assert [str(field.type) for field in table.schema] == [
        "int64",
        "double",
        "string",
        "timestamp[us, tz=UTC]",
        "double",
    ]
    assert table["f"].to_pylist() == [1.5, None]


def test_files_of_one_source_must_agree(tmp_path: Path) -> None:
    assert read(tmp_path, Format.CSV, b"a,b\n1,2\n", b"b,a\n3,4\n").to_pydict() == {"a": ["1", "4"], "b": ["2", "3"]}
    with pytest.raises(BadSource, match=r"f1.*differ.* in b, c"):
        read(tmp_path, Format.CSV, b"a,b\n1,2\n", b"a,c\n3,4\n")
    with pytest.raises(BadSource, match="columns a have other types"):
        read(tmp_path, Format.PARQUET, parquet(pa.table({"a": [1]})), parquet(pa.table({"a": ["x"]})))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-2", None], ColumnType.INTEGER),
        (["1", "2.5"], ColumnType.FLOAT),
        (["1e3", "inf"], ColumnType.FLOAT),
        (["99999999999999999999"], ColumnType.FLOAT),
        (["01234", "5"], ColumnType.CATEGORY),
        (["0x10"], ColumnType.CATEGORY),
        (["true", "False"], ColumnType.BOOLEAN),
        (["2026-01-01", "2026-01-02 10:00:00"], ColumnType.TIMESTAMP),
        (["2026-01-01T00:00:00+02:00", "2026-01-01T00:00:00Z"], ColumnType.TIMESTAMP),
        (["a", "b"], ColumnType.CATEGORY),
        ([f"name {i}" for i in range(60)], ColumnType.STRING),
        ([None, None], ColumnType.STRING),
    ],
)
def test_types_of_text(values: list[str | None], expected: ColumnType) -> None:
    assert infer_type(pa.chunked_array([pa.array(values, pa.string())]), from_text=True) is expected


# --- sources ----------------------------------------------------------------------------------------------------------


class _Web(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == "/moved.csv":
            self.send_response(302)
            self.send_header("Location", "/rows.csv")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status = int(path[1:]) if path[1:].isdigit() else 200
        body = b"a\n1\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + (100 if path == "/cut.csv" else 0)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def _http(url: str) -> Source:
    return Source(http=HttpSource(url=url))


def test_http_follows_redirects_and_names_the_file(web: str, tmp_path: Path) -> None:
    (file,) = fetch_source(_http(f"http://{web}/moved.csv?x=1"), tmp_path, ())
    assert (file.name, file.path.read_bytes()) == ("moved.csv", b"a\n1\n")


@pytest.mark.parametrize(
    ("path", "error", "reason"),
    [
        ("404", BadInput, "SourceNotFound"),
        ("403", BadInput, "SourceDenied"),
        ("503", StoreError, "SourceUnreachable"),
        ("cut.csv", StoreError, "SourceUnreachable"),
    ],
)
def test_http_failures_heal_or_do_not(web: str, tmp_path: Path, path: str, error: type[Exception], reason: str) -> None:
    with pytest.raises(error) as caught:
        fetch_source(_http(f"http://user:pa55@{web}/{path}?token=t0ken"), tmp_path, (0.0,))
    assert caught.value.reason == reason  # type: ignore[attr-defined]
    assert "pa55" not in str(caught.value)
    assert "t0ken" not in str(caught.value)


def test_http_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="SourceUnreachable"):
        fetch_source(_http("http://127.0.0.1:9/rows.csv"), tmp_path, ())


def _s3(uri: str) -> Source:
    return Source(s3=S3Source(uri=uri))


def test_s3_takes_all_objects_under_a_prefix_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        server.buckets["lake"] = {"in/b.csv": b"b", "in/a/1.csv": b"a", "in/_SUCCESS": b"", "in/": b"", "inn/c": b"c"}
        files = fetch_source(_s3("s3://lake/in/"), tmp_path, ())
        assert [(file.name, file.path.read_bytes()) for file in files] == [("a/1.csv", b"a"), ("b.csv", b"b")]
        assert [file.name for file in fetch_source(_s3("s3://lake/in"), tmp_path, ())] == ["a/1.csv", "b.csv"]
        assert [file.name for file in fetch_source(_s3("s3://lake/in/b.csv"), tmp_path, ())] == ["b.csv"]
        for uri in ("s3://lake/none/", "s3://nobucket/in/"):
            with pytest.raises(BadInput, match="SourceNotFound"):
                fetch_source(_s3(uri), tmp_path, ())
        server.fail = [(403, "AccessDenied")]
        with pytest.raises(BadInput, match="SourceDenied") as caught:
            fetch_source(_s3("s3://lake/in/"), tmp_path, ())
        assert SECRET_KEY not in str(caught.value)
        server.fail = [(500, "InternalError")]
        with pytest.raises(StoreError, match="SourceUnreachable"):
            fetch_source(_s3("s3://lake/in/"), tmp_path, ())


def test_a_source_of_its_own_is_asked_with_its_own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name.replace("STORE", "SOURCE"), value)
        server.buckets["lake"] = {"rows.csv": b"a"}
        assert len(fetch_source(_s3("s3://lake/rows.csv"), tmp_path, ())) == 1


def test_a_volume_gives_a_file_or_a_folder_and_nothing_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "volume"
    (root / "in" / "sub").mkdir(parents=True)
    for name in ("in/b", "in/sub/a", "in/.hidden"):
        (root / name).write_text("x")
    (tmp_path / "secret").write_text("x")
    monkeypatch.setenv("FAIRLEAD_SOURCE_VOLUME_DIR", str(root))

    def names(path: str) -> list[str]:
        return [
            f.name for f in fetch_source(Source(persistent_volume_claim=VolumeSource(name="v", path=path)), tmp_path)
        ]

    assert names("in") == ["b", "sub/a"]
    assert names("in/b") == ["b"]
    for path in ("gone", "in/../../secret"):
        with pytest.raises(BadInput, match="SourceNotFound"):
            names(path)


def test_a_link_on_a_volume_leads_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes the volume must not get at what this pod can read, its environment say."""
    root = tmp_path / "volume"
    (root / "rows").mkdir(parents=True)
    (root / "rows" / "a.csv").write_text("x\n1\n")
    (root / "rows" / "b.csv").symlink_to("a.csv")
    monkeypatch.setenv("FAIRLEAD_SOURCE_VOLUME_DIR", str(root))
    source = Source(persistent_volume_claim=VolumeSource(name="v", path="rows"))
    assert [file.name for file in fetch_source(source, tmp_path)] == ["a.csv", "b.csv"]
    (root / "rows" / "c.csv").symlink_to("/proc/self/environ")
    with pytest.raises(BadInput, match=r"'c.csv' is a link that leads out of the volume"):
        fetch_source(source, tmp_path)
    only = Source(persistent_volume_claim=VolumeSource(name="v", path="rows/c.csv"))
    with pytest.raises(BadInput, match="leads out of the volume"):
        fetch_source(only, tmp_path)
