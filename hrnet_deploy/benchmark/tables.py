"""A benchmark as tables, for a terminal or as Markdown."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from hrnet_deploy.benchmark.result import ArtifactInfo, Benchmark, Row, Scope
from hrnet_deploy.system import load_snapshot
from hrnet_deploy.system.text_table import Table, printable, wrapped

_LONGEST_NAME = 34
_LEFT_ALIGNED = frozenset({"artifact"})
_TITLES = {
    Scope.ENGINE: "Engine only: input and output stay in the engine's memory",
    Scope.COPIES: "With copies: NumPy array in, NumPy array out",
    Scope.WHOLE: "End to end: encoded images in, predictions out",
}
_NOTHING = "-"


@dataclass(frozen=True)
class Section:
    """A title, a table (none if the header is empty) and the notes below it."""

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


def sections(benchmark: Benchmark) -> list[Section]:
    """Arrange a benchmark: artifacts, one table per scope, streams, published latencies, conditions, warnings."""
    names = short_names([artifact.name for artifact in benchmark.artifacts])
    parts = [Section("Artifacts", notes=tuple(map(_describe, names, benchmark.artifacts)))]
    for scope in Scope:
        rows = tuple(_cells(row, names) for row in benchmark.rows if row.scope is scope)
        if rows:
            header = ("batch", "artifact", "median ms", "p95", "p99", "samples", "images/s", "speed-up")
            parts.append(Section(_TITLES[scope], header, rows))
        elif scope is Scope.COPIES:
            parts.append(Section("With copies: equal to engine only, because a CPU copies nothing"))
    if benchmark.streams:
        parts.append(_streams(benchmark, names))
    if benchmark.published is not None:
        parts.append(_published(benchmark, names))
    if benchmark.skipped:
        parts.append(_skipped(benchmark, names))
    threads = "all cores" if benchmark.threads is None else f"{benchmark.threads} CPU threads"
    how = (
        f"{threads} for one inference; {benchmark.seconds:g} s per cell, artifacts interleaved; speed-up over the first"
    )
    conditions = load_snapshot.describe(benchmark.before, benchmark.after)
    parts.append(Section("Conditions", notes=(*conditions, how)))
    if benchmark.warnings:
        parts.append(Section("Warnings", notes=benchmark.warnings))
    return parts


def as_text(parts: Sequence[Section]) -> str:
    """Render sections for a terminal, at most 100 columns wide."""
    blocks = []
    for part in parts:
        lines = [part.title]
        if part.header:
            lines += [f"  {line}" for line in Table(part.header, part.rows, _LEFT_ALIGNED).text()]
        for note in part.notes:
            lines += wrapped(note, "  ", "    ")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def as_markdown(parts: Sequence[Section]) -> str:
    """Render sections as Markdown."""
    blocks = ["# Benchmark"]
    for part in parts:
        blocks.append(f"## {part.title}" if part.header or part.notes else part.title)
        if part.header:
            blocks.append("\n".join(Table(part.header, part.rows, _LEFT_ALIGNED).markdown()))
        if part.notes:
            blocks.append("\n".join(f"- {_escaped(note)}" for note in part.notes))
    return "\n\n".join(blocks) + "\n"


def short_names(names: Sequence[str]) -> list[str]:
    """Return distinct file names that fit a column, with escaped control characters."""
    short: list[str] = []
    half = (_LONGEST_NAME - 1) // 2
    for name in map(printable, names):
        cut = name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"
        numbered = itertools.chain([cut], (f"{cut} ({number})" for number in itertools.count(2)))
        short.append(next(each for each in numbered if each not in short))
    return short


def milliseconds(value: float | None) -> str:
    """Format milliseconds: three decimals below 1, two below 100, else none."""
    if value is None:
        return _NOTHING
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _describe(name: str, artifact: ArtifactInfo) -> str:
    height, width = artifact.input_hw
    arithmetic = f" in {artifact.arithmetic}" if artifact.arithmetic else ""
    size = f"{artifact.size_bytes / 1e6:.1f} MB, " if artifact.size_bytes else ""
    return (
        f"{name}: {printable(artifact.variant)} {artifact.precision.value}, input {height}x{width}, "
        f"{printable(artifact.backend)} on {artifact.device}{printable(arithmetic)}, {size}"
        f"input image {printable(artifact.image)}"
    )


def _cells(row: Row, names: Sequence[str]) -> tuple[str, ...]:
    latency, gain = row.latency, _NOTHING if row.speed_up is None else f"{row.speed_up:.2f}"
    times = map(milliseconds, (latency.median_ms, latency.p95_ms, latency.p99_ms))
    return (str(row.batch), names[row.artifact], *times, str(latency.samples), _rate(row.images_per_second), gain)


def _streams(benchmark: Benchmark, names: Sequence[str]) -> Section:
    rows = []
    for row in benchmark.streams:
        latency, speeds = row.throughput.latency, (_rate(row.images_per_second), f"{row.gain:.2f}")
        times = (milliseconds(latency.median_ms), milliseconds(latency.p95_ms))
        rows.append((str(row.batch), names[row.artifact], str(row.throughput.streams), *speeds, *times))
    header = ("batch", "artifact", "streams", "images/s", "gain", "median ms", "p95")
    note = "gain: throughput over that of one stream; each stream is a thread, NumPy in and out"
    return Section("Streams that share one engine", header, tuple(rows), (note,))


def _published(benchmark: Benchmark, names: Sequence[str]) -> Section:
    """Return our and the published latencies side by side."""
    published = benchmark.published or ()
    settings = sorted({row.setting for row in published}, key=lambda text: (text.split()[::-1], text))
    rows = []
    for row in benchmark.rows:
        artifact = benchmark.artifacts[row.artifact]
        theirs = {
            one.setting: one.latency_ms
            for one in published
            if (one.variant, one.batch, one.input_hw) == (artifact.variant, row.batch, artifact.input_hw)
        }
        if row.scope is Scope.ENGINE and theirs:
            cells = (milliseconds(theirs.get(setting)) for setting in settings)
            rows.append((str(row.batch), names[row.artifact], milliseconds(row.latency.median_ms), *cells))
    sources: dict[str, list[str]] = {}
    for one in published:
        label = f"{one.hardware} ({one.runtime})"
        if label not in sources.setdefault(one.source, []):
            sources[one.source].append(label)
    notes = [f"other hardware: {', '.join(labels)}; source: {source}" for source, labels in sources.items()]
    without = dict.fromkeys(
        f"{printable(artifact.variant)} at {artifact.input_hw[0]}x{artifact.input_hw[1]}"
        for artifact in benchmark.artifacts
        if not any((one.variant, one.input_hw) == (artifact.variant, artifact.input_hw) for one in published)
    )
    notes += [f"nothing is published for {model}" for model in without]
    title = "Published latencies: other hardware, not comparable with this machine"
    return Section(title, ("batch", "artifact", "ours, ms", *settings) if rows else (), tuple(rows), tuple(notes))


def _skipped(benchmark: Benchmark, names: Sequence[str]) -> Section:
    batches: dict[tuple[int, str], list[str]] = {}
    for one in benchmark.skipped:
        batches.setdefault((one.artifact, one.reason), []).append(str(one.batch))
    notes = (f"batch {', '.join(sizes)} of {names[index]}: it {reason}" for (index, reason), sizes in batches.items())
    return Section("Not measured", notes=tuple(notes))


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
