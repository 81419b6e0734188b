"""What `hrnet-inspect --runtimes` shows of the runtimes of a file."""

from __future__ import annotations

from collections.abc import Sequence

from hrnet_deploy.integrity.runtimes import RuntimeSupport
from hrnet_deploy.system.text_table import printable, wrapped

_NAME_WIDTH = 19


def runtime_lines(runtimes: Sequence[RuntimeSupport]) -> list[str]:
    """Lay out the runtimes of a file, one paragraph each.

    Args:
        runtimes: from `find_runtimes`.

    Returns:
        Lines of at most 100 columns.
    """
    lines = ["runtimes"]
    for each in runtimes:
        lines += wrapped(printable(f"{each.outcome.value}: {each.reason}"), f"  {each.runtime:<{_NAME_WIDTH}} ")
    return lines
