"""How figures are written, the same in every format of a report."""

from __future__ import annotations

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"
_MEGABYTE = 1e6


def percent(share: float | None) -> str:
    """A share.

    Args:
        share: 0..1; None where there is none.

    Returns:
        Two decimals, as "71.23%"; a dash for None.
    """
    return "-" if share is None else f"{100 * share:.2f}%"


def points(value: float | None) -> str:
    """Percentage points.

    Args:
        value: in points; None where there is none.

    Returns:
        Two decimals with a true minus sign, never "-0.00"; a dash for None.
    """
    if value is None:
        return "-"
    text = f"{abs(value):.2f}"
    return MINUS + text if value < 0 and float(text) else text


def interval(low: float | None, high: float | None) -> str:
    """A 95% interval.

    Args:
        low: lower end in points; None where there is none.
        high: upper end in points.

    Returns:
        As "0.02 to 0.41".
    """
    return "-" if low is None or high is None else f"{points(low)} to {points(high)}"


def milliseconds(value: float | None) -> str:
    """A time with three figures.

    Args:
        value: in milliseconds; None where there is none.

    Returns:
        As "8.41" or "112"; a dash for None.
    """
    if value is None:
        return "-"
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{decimals}f}"


def megabytes(size_bytes: int) -> str:
    """A file size.

    Args:
        size_bytes: in bytes.

    Returns:
        One decimal, in units of 1,000,000 bytes.
    """
    return f"{size_bytes / _MEGABYTE:.1f}"


def ratio(value: float | None) -> str:
    """How many times.

    Args:
        value: the ratio; None where it says nothing.

    Returns:
        As "1.94x" with a true multiplication sign; a dash for None.
    """
    return "-" if value is None else f"{value:.2f}{TIMES}"


def visible(text: str) -> str:
    """Foreign text without what cannot be seen or written: control and direction characters, lone surrogates.

    Args:
        text: such as a file name.

    Returns:
        The text with a replacement character for each of them.
    """
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
