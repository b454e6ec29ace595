"""What the pages say exists: links, make verbs, plugin verbs, chart values, and manifests that their types accept."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.api.kinds import KINDS
from fairlead.cli.main import _build_parser

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SPECS = {kind.resource.kind: kind.spec for kind in KINDS}
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)
# at the start of a command, after variables, `time` or a separator; prose such as "make it again" is none
MAKE = re.compile(r"(?:^|[;&|]\s*|\btime\s+|[A-Z_]+=\S+\s+|\$ )make((?: [a-z][a-z0-9-]*)+)", re.M)
PLUGIN = re.compile(r"kubectl fairlead ([a-z]+)")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _code(text: str) -> Iterator[str]:
    """Yield what is code on a page: blocks without their comments, and inline code."""
    for _, block in FENCE.findall(text):
        yield re.sub(r"\s#.*", "", block)
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in _anchors(target.read_text()), f"{link}: no such title"


def _targets() -> set[str]:
    makefiles = (ROOT / "Makefile").read_text() + (ROOT / "hack/cluster.mk").read_text()
    return set(re.findall(r"^([a-z][a-z0-9-]*):", makefiles, re.M))


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_make_verbs_exist(page: Path) -> None:
    named = {verb for code in _code(page.read_text()) for words in MAKE.findall(code) for verb in words.split()}
    assert named <= _targets(), f"no such verb of make: {sorted(named - _targets())}"


def _plugin_verbs() -> set[str]:
    actions = _build_parser()._actions
    return {verb for action in actions if isinstance(action, argparse._SubParsersAction) for verb in action.choices}


def test_verbs_of_the_plugin_exist_where_pages_and_messages_name_them() -> None:
    sources = [*PAGES, *(ROOT / "operator/fairlead/plan").glob("*.py"), *(ROOT / "hack/demo").glob("*.py")]
    for source in sources:
        named = set(PLUGIN.findall(source.read_text()))
        assert named <= _plugin_verbs(), f"{_name(source)}: {sorted(named - _plugin_verbs())}"


def test_the_index_names_every_verb_of_the_plugin() -> None:
    text = (ROOT / "docs/README.md").read_text()
    missing = {verb for verb in _plugin_verbs() if not re.search(rf"`(kubectl fairlead )?{verb}\b", text)}
    assert not missing


def _manifests() -> list[Any]:
    blocks = [
        (_name(page), block) for page in PAGES for kind, block in FENCE.findall(page.read_text()) if kind == "yaml"
    ]
    blocks += [(_name(path), path.read_text()) for path in sorted((ROOT / "examples").rglob("*.yaml"))]
    found = [(source, document) for source, block in blocks for document in yaml.safe_load_all(block)]
    return [
        pytest.param(document, id=f"{source}:{document['kind']}")
        for source, document in found
        if isinstance(document, dict) and document.get("kind") in SPECS
    ]


def _unknown(said: Any, read: Any, path: str = "spec") -> list[str]:
    """Return the fields of a manifest that its type did not take: it ignores what it does not know."""
    if isinstance(said, dict) and isinstance(read, dict):
        gone = [f"{path}.{key}" for key in said if key not in read]
        return gone + [each for key in said if key in read for each in _unknown(said[key], read[key], f"{path}.{key}")]
    if isinstance(said, list) and isinstance(read, list):
        return [each for s, r in zip(said, read, strict=True) for each in _unknown(s, r, f"{path}[]")]
    return []


@pytest.mark.parametrize("manifest", _manifests())
def test_manifests_are_valid(manifest: dict[str, Any]) -> None:
    read = SPECS[manifest["kind"]].model_validate(manifest["spec"])
    assert not _unknown(manifest["spec"], read.to_json_object())


def test_each_kind_has_a_manifest_on_its_page() -> None:
    for kind in SPECS:
        blocks = [
            block for lang, block in FENCE.findall((ROOT / f"docs/api/{kind.lower()}.md").read_text()) if lang == "yaml"
        ]
        assert any(document.get("kind") == kind for block in blocks for document in yaml.safe_load_all(block))


def test_chart_values_on_the_page_exist() -> None:
    values = yaml.safe_load((ROOT / "charts/fairlead/values.yaml").read_text())
    rows = re.findall(
        r"^\| (`[^|]+) \|", (ROOT / "docs/install.md").read_text().split("## The store's Secret")[0], re.M
    )
    named = [name for row in rows for name in re.findall(r"`([\w.*]+)`", row)]
    assert len(named) > 15
    for name in named:
        here = values
        for part in name.removesuffix(".*").split("."):
            assert part in here, f"{name} is no value of the chart"
            here = here[part]


def test_every_test_that_a_promise_names_exists() -> None:
    text, file = (ROOT / "docs/reliability.md").read_text(), ""
    for path, name in re.findall(r"`(tests/[\w/*.]+\.py|\.\.\.)(?:::(\w+))?`", text):
        file = file if path == "..." else path
        found = sorted(ROOT.glob(file))
        assert found, f"there is no {file}"
        assert not name or any(f"def {name}(" in source.read_text() for source in found), f"{file} has no {name}"
