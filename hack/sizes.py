"""Holds the code to its sizes: no file over 400 lines, no function over 60, in operator/, images/ and hack/."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_MAX, FUNCTION_MAX = 400, 60


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    docstring = ast.get_docstring(node) or ""
    return (node.end_lineno or 0) - node.lineno + 1 - len(docstring.splitlines())


def findings(root: Path) -> Iterator[str]:
    """Yield a line for each file or function that is too long."""
    for folder in ("operator", "images", "hack", "tests/support"):
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text()
            if text.count("\n") > FILE_MAX:
                yield f"{path}: {text.count(chr(10))} lines, at most {FILE_MAX}"
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _code_lines(node) > FUNCTION_MAX:
                    yield f"{path}:{node.lineno}: {node.name} has {_code_lines(node)} lines, at most {FUNCTION_MAX}"


if __name__ == "__main__":
    found = list(findings(Path(__file__).resolve().parent.parent))
    print("\n".join(found))
    sys.exit(bool(found))
