"""HTML and SVG as values: text is escaped when it becomes a child or an attribute, so no name can become markup.

`Html` is the only type that is taken as it is; nothing outside this module and constant texts may make one by hand.
Called by every page and plot.
"""

from __future__ import annotations

from html import escape
from typing import Any

from fairlead.contract.printable import in_lines

VOID = frozenset({"meta", "br", "line", "rect", "circle", "path", "polyline"})


class Html(str):
    """Markup that is already safe."""

    __slots__ = ()


Child = str | float | None


def tag(name: str, /, *children: Child, **attributes: Any) -> Html:
    """Return an element; `class_` is class, `_` in other names becomes `-`, None leaves an attribute out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value), quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID and not children:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: Child) -> Html:
    """Return the children one after the other, escaped unless they are Html."""
    return Html("".join(safe(child) for child in children if child is not None))


def safe(child: str | float) -> Html:
    """Return text or a number as markup that shows exactly it."""
    return child if isinstance(child, Html) else Html(escape(_plain(child), quote=True))


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return in_lines(str(value))  # a mark that turns the reading order would turn our own words after it


def table(headings: list[Child], rows: list[list[Child]], numeric: frozenset[int] = frozenset()) -> Html:
    """Return a table; columns in `numeric` are right-aligned with figures of equal width."""

    def cells(kind: str, row: list[Child]) -> Html:
        return join(*(tag(kind, child, class_="n" if i in numeric else None) for i, child in enumerate(row)))

    head = tag("thead", tag("tr", cells("th", headings)))
    body = tag("tbody", *(tag("tr", cells("td", row)) for row in rows))
    return tag("div", tag("table", head, body), class_="scroll")


def section(title: str, *children: Child, lead: str | None = None) -> Html:
    """Return a titled part of a page, with a sentence that says how to read it."""
    return tag("section", tag("h2", title), tag("p", lead, class_="lead") if lead else None, *children)


def facts(pairs: list[tuple[str, Child]]) -> Html:
    """Return names and values as a definition list; pairs without a value are left out."""
    shown = [(name, value) for name, value in pairs if value not in (None, "")]
    return tag("dl", *(join(tag("dt", name), tag("dd", value)) for name, value in shown))


def badge(word: str, tone: str) -> Html:
    """Return a small label; tones: good, bad, unsure, quiet. The word says it too, not the colour alone."""
    return tag("span", word, class_=f"badge {tone}")


def code(text: str) -> Html:
    """Return a digest or a parameter in a fixed-width face."""
    return tag("code", text)
