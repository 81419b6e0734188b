"""HTML and SVG elements in which foreign text cannot become markup."""

from __future__ import annotations

import html
import re

from hrnet_deploy.report.numbers import visible

_VOID = frozenset({"img", "meta", "link"})
_SHAPES = frozenset({"circle", "line", "path", "polygon", "rect"})


class Markup(str):
    """Text that is markup already; only this module and fixed strings make it."""

    __slots__ = ()


Child = str | Markup | None


def escaped(text: str) -> Markup:
    """Foreign text as markup.

    Args:
        text: any.

    Returns:
        The text, with nothing in it that HTML would read.
    """
    return text if isinstance(text, Markup) else Markup(html.escape(visible(text), quote=True))


def joined(*parts: Child) -> Markup:
    """Several parts, one after the other.

    Args:
        parts: markup stays, text is escaped, None is left out.

    Returns:
        The whole.
    """
    return Markup("".join(escaped(part) for part in parts if part is not None))


def breakable(name: str) -> Markup:
    """A file name that a narrow column may break where its parts meet.

    Args:
        name: of a file.

    Returns:
        The name with chances to break after underscores, hyphens and slashes.
    """
    return joined(*(part for word in re.split(r"(?<=[_/-])", name) for part in (escaped(word), Markup("<wbr>"))))


def element(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """One element.

    Args:
        name: of the element.
        children: markup stays, text is escaped, None is left out.
        attributes: `class_` for class, other underscores for hyphens; one whose value is None is left out.

    Returns:
        The element.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            words.append(f'{key.rstrip("_").replace("_", "-")}="{html.escape(visible(text), quote=True)}"')
    start = " ".join(words)
    if name in _VOID:
        return Markup(f"<{start}>")
    if name in _SHAPES and not children:
        return Markup(f"<{start}/>")
    return Markup(f"<{start}>{joined(*children)}</{name}>")
