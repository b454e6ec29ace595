"""Figures that a fault run prints, one line each; `pytest -s` shows them."""

from __future__ import annotations

from collections.abc import Collection


def report(what: str, values: Collection[float], bar: float | None = None) -> None:
    """Print count, median and maximum of some measurements beside their bar."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2] if ordered else float("nan")
    top = ordered[-1] if ordered else float("nan")
    said = f"{what}: n={len(ordered)} median={middle:.2f} max={top:.2f}"
    print(said if bar is None else f"{said} bar={bar:.2f}", flush=True)


def tell(what: str, **counts: object) -> None:
    """Print counts."""
    print(f"{what}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in counts.items()), flush=True)
