"""The report as Markdown, of everything that was measured so far."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from comparison import goals
from comparison.results_store import ResultsStore
from comparison.suite import Key, Record, Suite
from comparison.table import Table


def markdown(store: ResultsStore, suites: Mapping[str, Suite], names: Sequence[str], *, quick: bool) -> str:
    """Render the store; `names` are the models of a complete report."""
    missing: list[str] = []
    done: dict[str, dict[Key, Record]] = {}
    tables: list[Table] = []
    for name, suite in suites.items():
        records, wanted = store.records(name), suite.keys(names, quick=quick)
        order = [key for key in wanted if key in records] + [key for key in records if key not in wanted]
        done[name] = {key: records[key] for key in order if "failed" not in records[key]}
        table = suite.table(done[name])
        table.notes += [f"{' '.join(key)}: {records[key]['failed']}" for key in order if "failed" in records[key]]
        if absent := _absent(wanted, done[name]):
            missing.append(f"{name} ({', '.join(absent)})")
        if table.rows or table.notes:
            tables.append(table)
    head = ["# Comparison", "", *(f"- {line}" for line in _runs(store.runs()))]
    head.append(f"- Not measured: {'; '.join(missing)}" if missing else "- Everything was measured.")
    explained = (
        "Ratios are medians of pairs of calls from one round; above 1 that row is slower than ours. Random weights."
    )
    texts = ["\n".join([*head, "", explained, ""]), *(table.markdown() for table in tables)]
    return "\n".join([*texts, goals.table(done).markdown()])


def _absent(wanted: Sequence[Key], done: Collection[Key]) -> list[str]:
    """Name what is missing, in as few words: all of a suite, all of a model, or a group."""
    if not any(key in done for key in wanted):
        return ["all of it"]
    by_model: dict[str, list[Key]] = {}
    for key in wanted:
        by_model.setdefault(key[0], []).append(key)
    absent: list[str] = []
    for model, keys in by_model.items():
        left = [" ".join(key) for key in keys if key not in done]
        absent += [model] if len(left) == len(keys) else left
    return absent


def _runs(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe machines, then runs."""
    lines = list(dict.fromkeys(run["machine"] for run in runs))
    for run in runs:
        before, after = run["load"]
        lines.append(f"{run['began']}, {run['seconds']} s, load {before} before and {after} after: `{run['command']}`")
        lines += run["warnings"]
    return lines
