"""What a server and its children cost: CPU seconds and memory, read from /proc; and a limit on their CPU.

Used by `bench_serve`. Never ends a process that it did not start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PERIOD_US = 100_000  # the kubelet's


def pids_of(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parents.setdefault(int(_fields(int(folder.name))[1]), []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += parents.get(pid, [])
    return found


def cpu_s(root: int) -> float:
    """Return the seconds of CPU that a tree of processes has used, ended children included."""
    total = 0
    for pid in pids_of(root):
        with contextlib.suppress(OSError):
            total += sum(int(value) for value in _fields(pid)[11:15])
    return total / _TICKS


def memory_mb(root: int) -> float:
    """Return the proportional set size of a tree of processes: shared pages count once."""
    total = 0
    for pid in pids_of(root):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


@dataclass(frozen=True)
class CpuLimit:
    """A cgroup with a quota; `prefix` starts a command inside it."""

    how: str
    prefix: list[str]
    folder: Path | None

    def throttled(self) -> tuple[int, int]:
        """Return the periods in which something ran, and those in which it was stopped for its quota."""
        if self.folder is None:
            return 0, 0
        pairs = (line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
        found = {name: int(value) for name, value in pairs}
        return found["nr_periods"], found["nr_throttled"]


@contextlib.contextmanager
def cpu_limit(millicores: int) -> Iterator[CpuLimit]:
    """Limit CPU as the kubelet does, by a cgroup of either version; where there is no right to, say so and do not."""
    quota = millicores * _PERIOD_US // 1000
    for root, values, how in (
        (Path("/sys/fs/cgroup/cpu"), {"cpu.cfs_period_us": f"{_PERIOD_US}", "cpu.cfs_quota_us": f"{quota}"}, "v1"),
        (Path("/sys/fs/cgroup"), {"cpu.max": f"{quota} {_PERIOD_US}"}, "v2"),
    ):
        folder = root / f"fairlead-bench-{os.getpid()}"
        try:
            folder.mkdir()
            for name, value in values.items():
                (folder / name).write_text(value)
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            continue
        try:
            join = ["sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh"]
            yield CpuLimit(f"cgroup {how} quota of {quota} of {_PERIOD_US} us", join, folder)
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return
    yield CpuLimit("no right to make a cgroup: not limited", [], None)
