"""The examples are what they say they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fairlead.api.inferenceservice import InferenceServiceSpec

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_program_in_the_manifest_of_version_3_is_the_file_beside_it() -> None:
    manifest = yaml.safe_load((EXAMPLES / "flights/05-run-v3.yaml").read_text())
    program = (EXAMPLES / "flights/fragile_model.py").read_text()
    assert manifest["spec"]["trainer"]["container"]["args"] == [program]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("strategies/*.yaml")), ids=lambda path: path.stem)
def test_the_example_of_a_strategy_says_what_the_type_takes(path: Path) -> None:
    spec = yaml.safe_load(path.read_text())["spec"]
    read = InferenceServiceSpec.model_validate(spec).to_json_object()
    assert read["rollout"]["strategy"].lower() == path.stem.replace("-", "")
    assert set(spec["rollout"]) <= set(read["rollout"])
