"""Numbers as text, the same in every format of a report; a dash stands for None."""

from __future__ import annotations

from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


def percent(share: float | None) -> str:
    """Format a share of 0..1 as "71.23%"."""
    return "-" if share is None else f"{100 * share:.2f}%"


def points(value: float | None) -> str:
    """Format percentage points with two decimals and a true minus sign, never "-0.00"."""
    if value is None:
        return "-"
    text = f"{abs(value):.2f}"
    return MINUS + text if value < 0 and float(text) else text


def interval(low: float | None, high: float | None) -> str:
    """Format an interval in percentage points as "0.02 to 0.41"."""
    return "-" if low is None or high is None else f"{points(low)} to {points(high)}"


def milliseconds(value: float | None) -> str:
    """Format a time in ms with three significant digits, as "8.41" or "112"."""
    if value is None:
        return "-"
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def megabytes(size_bytes: int) -> str:
    """Format a file size in units of 1,000,000 bytes with one decimal; "-" for 0, where there is no file."""
    return f"{size_bytes / 1e6:.1f}" if size_bytes else "-"


def ratio(value: float | None) -> str:
    """Format a factor as "1.94" and a multiplication sign."""
    return "-" if value is None else f"{value:.2f}{TIMES}"


def join_words(words: Sequence[str]) -> str:
    """Join words as "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
