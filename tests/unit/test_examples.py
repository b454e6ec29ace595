"""The examples are what they say they are."""

from __future__ import annotations

from pathlib import Path

import yaml

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_program_in_the_manifest_of_version_3_is_the_file_beside_it() -> None:
    manifest = yaml.safe_load((EXAMPLES / "flights/05-run-v3.yaml").read_text())
    program = (EXAMPLES / "flights/fragile_model.py").read_text()
    assert manifest["spec"]["trainer"]["container"]["args"] == [program]
