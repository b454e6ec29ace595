"""What the server's image imports needs nothing of the jobs' image."""

from __future__ import annotations

import subprocess
import sys

NAMES = "artifact digest errors profile progress revision s3 signature store summary __main__"
PROGRAM = """
import importlib, sys
for name in ("pandas", "sklearn", "scipy", "matplotlib", "skl2onnx", "joblib", "kubernetes", "kopf", "aiohttp"):
    sys.modules[name] = None
sys.path[:0] = ["operator", "images/runtime"]
for name in sys.argv[1:]:
    importlib.import_module("fairlead_runtime." + name)
"""


def test_shared_modules_import_with_the_servers_packages_alone() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *NAMES.split()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
