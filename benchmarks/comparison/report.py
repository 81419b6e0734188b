"""The report as Markdown, of whatever was measured so far."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from contest import targets
from contest.ledger import Ledger
from contest.section import Key, Record, Section
from contest.table import Table


def markdown(ledger: Ledger, sections: Mapping[str, Section], names: Sequence[str], *, quick: bool) -> str:
    """Write down a ledger.

    Args:
        ledger: what was measured.
        sections: by name, in the order of the report.
        names: nets that a complete report has.
        quick: whether a quick run's groups are enough.

    Returns:
        Text that ends with a line end.
    """
    missing: list[str] = []
    done: dict[str, dict[Key, Record]] = {}
    tables: list[Table] = []
    for name, section in sections.items():
        records, wanted = ledger.records(name), section.keys(names, quick=quick)
        order = [key for key in wanted if key in records] + [key for key in records if key not in wanted]
        done[name] = {key: records[key] for key in order if "failed" not in records[key]}
        table = section.table(done[name])
        table.notes += [f"{' '.join(key)}: {records[key]['failed']}" for key in order if "failed" in records[key]]
        if absent := _absent(wanted, done[name]):
            missing.append(f"{name} ({', '.join(absent)})")
        if table.rows or table.notes:
            tables.append(table)
    head = ["# Fast", "", *(f"- {line}" for line in _facts(ledger.runs()))]
    head.append(f"- Not measured: {'; '.join(missing)}" if missing else "- Everything was measured.")
    explained = (
        "Ratios are medians of pairs of calls from one round; above 1 that row is slower than ours. Random weights."
    )
    texts = ["\n".join([*head, "", explained, ""]), *(table.markdown() for table in tables)]
    return "\n".join([*texts, targets.table(done).markdown()])


def _absent(wanted: Sequence[Key], done: Collection[Key]) -> list[str]:
    """What is missing, in as few words: all of a section, all of a net, or a group."""
    if not any(key in done for key in wanted):
        return ["all of it"]
    by_net: dict[str, list[Key]] = {}
    for key in wanted:
        by_net.setdefault(key[0], []).append(key)
    absent: list[str] = []
    for net, keys in by_net.items():
        left = [" ".join(key) for key in keys if key not in done]
        absent += [net] if len(left) == len(keys) else left
    return absent


def _facts(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Machines, then runs."""
    lines = list(dict.fromkeys(run["machine"] for run in runs))
    for run in runs:
        before, after = run["load"]
        lines.append(f"{run['began']}, {run['seconds']} s, load {before} before and {after} after: `{run['command']}`")
        lines += run["warnings"]
    return lines
