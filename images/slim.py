"""Takes out of a virtual environment what a finished image never reads, then compiles the rest.

Runs in the build stages of both Dockerfiles: `python3 slim.py /opt/venv`. Every pattern names
something no code path of ours imports; a wrong one fails the build, which imports the main packages
right after.
"""

from __future__ import annotations

import compileall
import py_compile
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

# Relative to site-packages. Tests, headers and typing stubs are for people who develop against them.
PATTERNS = (
    "pip",
    "pip-*.dist-info",
    "**/tests",
    "**/*.pyi",
    "**/*.pxd",
    "**/__pycache__",
    # Arrow: its network protocol, its expression compiler, and what C++ needs.
    "pyarrow/include",
    "pyarrow/src",
    "pyarrow/*flight*",
    "pyarrow/*gandiva*",
    "pyarrow/libarrow_flight*",
    "pyarrow/**/*.cc",
    "pyarrow/**/*.h",
    # Its own clients of object stores: the store is reached through one client, and not by Arrow.
    "pyarrow/libarrow_s3*",
    "pyarrow/_s3fs*",
    "pyarrow/_gcsfs*",
    "pyarrow/_azurefs*",
    "pyarrow/_hdfs*",
    "numpy/**/include",
    "numpy/**/*.a",
    # onnx carries its conformance suite, onnxruntime its training and tuning tools.
    "onnx/backend/test",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "onnxruntime/quantization",
    "Crypto/SelfTest",
    "matplotlib/mpl-data/sample_data",
    "matplotlib/mpl-data/images",
    "sklearn/datasets/data",
    "sklearn/datasets/images",
)
# Sources stay, but are not compiled: generated code for every resource, which the dynamic client
# that the operator uses never imports (57 MB compiled).
NOT_COMPILED = r"/kubernetes/(aio/)?client/(api|models)/"


def site_packages(venv: Path) -> Path:
    """The one site-packages of a virtual environment."""
    return next((venv / "lib").glob("python3.*/site-packages"))


def unwanted(site: Path) -> Iterator[Path]:
    """What the patterns match and is still there."""
    for pattern in PATTERNS:
        for path in sorted(site.glob(pattern)):
            if path.exists():
                yield path


def remove(path: Path) -> None:
    """Removes a file or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def main(venv: Path) -> None:
    """Slims and compiles; prints the size left in MB."""
    site = site_packages(venv)
    for path in list(unwanted(site)):
        if path.exists():
            remove(path)
    # Unchecked: sources in an image do not change, so nothing needs to look at them at start.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(site, quiet=2, workers=0, invalidation_mode=mode, rx=re.compile(NOT_COMPILED))
    total = sum(path.stat().st_size for path in site.rglob("*") if path.is_file() and not path.is_symlink())
    sys.stdout.write(f"{site}: {total / 1e6:.0f} MB\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
