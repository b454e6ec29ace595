"""The operator as a process of its own, on 127.0.0.1, with images that nothing pulls. Used by integration tests.

Fault tests have their own (`tests/faults/process.py`): theirs is killed, begun again, and watched.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "sha256:0"
PLACE = ("--bind-address", "127.0.0.1", "--health-port", "0", "--metrics-port", "0")


async def begin_operator(
    kubeconfig: Path, *given: str, tree: Path = ROOT, image: str = IMAGE, stderr: Any = None
) -> asyncio.subprocess.Process:
    """Start the operator of a tree; `given` are further arguments."""
    images = ("--server-image", f"example.com/server@{image}", "--jobs-image", f"example.com/jobs@{image}")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.app", "--kubeconfig", str(kubeconfig), *PLACE, *images, *given,
        env={**os.environ, "PYTHONPATH": str(tree / "operator")}, stderr=stderr,
    )  # fmt: skip


async def end_operator(process: asyncio.subprocess.Process) -> None:
    """Tell it to end, unless it has, and wait for that."""
    if process.returncode is None:
        process.terminate()
        await asyncio.wait_for(process.wait(), 15)


@asynccontextmanager
async def operator_process(kubeconfig: Path, *given: str, **how: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the operator for as long as the context lasts."""
    process = await begin_operator(kubeconfig, *given, **how)
    try:
        yield process
    finally:
        await end_operator(process)
