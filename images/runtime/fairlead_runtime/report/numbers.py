"""How numbers are written for people, everywhere the same. Called by pages and by messages of gates."""

from __future__ import annotations

import math


def number(value: float | None) -> str:
    """Return four digits after the point under 1, four digits up to 1000, then commas; n/a for what does not exist."""
    if value is None or not math.isfinite(value):
        return "n/a"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 1 or value == 0:
        return f"{value:.4g}"
    return f"{value:.4f}".rstrip("0") if abs(value) >= 1e-3 else f"{value:.2g}"


def percent(share: float) -> str:
    """Return a share as percent, one digit after the point under 10."""
    value = 100 * share
    return f"{value:.0f} %" if abs(value) >= 10 or value == 0 else f"{value:.1f} %"


def size(count: float) -> str:
    """Return bytes in the unit that leaves at most four digits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("unreachable")


def finite(value: float) -> float | None:
    """Return six significant digits of a number, None for what JSON cannot say."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
