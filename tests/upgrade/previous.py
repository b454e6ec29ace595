"""The previous chart version on the real cluster: its chart, and its code in images of its own.

The code comes out of git; the packages below it are today's, so that a build takes seconds and needs no registry.
Used by `test_upgrade.py` alone.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from hack.demo.cluster import ROOT, run

COMMIT = "d21c7c4ddf6eb2f0aabe77629c7d2eb33316351f"  # chart 0.1.0
NODE = "fairlead-control-plane"
RUNTIME = {
    "images/runtime/fairlead_runtime": "fairlead_runtime",
    "operator/fairlead/__init__.py": "fairlead/__init__.py",
    "operator/fairlead/contract": "fairlead/contract",
}
CODE = {"operator": {"operator/fairlead": "fairlead"}, "server": RUNTIME, "jobs": RUNTIME}


def tree(folder: Path) -> Path:
    """Lay out the previous version's tree in a folder."""
    what = ("operator", "images", "charts")
    archive = subprocess.run(["git", "archive", COMMIT, *what], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def image(name: str) -> str:
    """Return what the previous version's image of a name is called here."""
    return f"fairlead-{name}:previous"


def make_images(previous: Path) -> None:
    """Build the three images and put them into the node."""
    for name, code in CODE.items():
        copies = "".join(f"COPY {source} /opt/previous/{target}\n" for source, target in code.items())
        # a folder of its own: Python would believe the compiled files of today's code beside it
        text = f"FROM fairlead-{name}:dev\n{copies}ENV PYTHONPATH=/opt/previous\n"
        run("docker", "build", "--tag", image(name), "--file", "-", str(previous), given=text)
    names = [image(name) for name in CODE]
    with subprocess.Popen(["docker", "save", *names], stdout=subprocess.PIPE) as save:
        into = ["docker", "exec", "--interactive", NODE, "ctr", "--namespace", "k8s.io", "images", "import", "-"]
        subprocess.run(into, stdin=save.stdout, check=True, capture_output=True)
