"""A benchmark as tables, for a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hrnet_deploy.benchmark.result import Artefact, Benchmark, Row, Scope
from hrnet_deploy.system import load_snapshot
from hrnet_deploy.system.text_table import Table, printable, wrapped

_LONGEST_NAME = 34
_LEFT_ALIGNED = frozenset({"artefact", "net", "reason"})
_TITLES = {
    Scope.ENGINE: "Engine only: the input lies where it computes, the output stays there",
    Scope.COPIES: "With copies: NumPy array in, NumPy array out",
    Scope.WHOLE: "End to end: encoded images in, answers out (decode, preprocess, infer, decide)",
}
_NOTHING = "-"


@dataclass(frozen=True)
class Section:
    """A table with its title and notes.

    Attributes:
        title: one line.
        header: one name a column; none for a section of notes only.
        rows: cells as texts.
        notes: lines below it.
    """

    title: str
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


def sections(found: Benchmark) -> list[Section]:
    """Arrange what was found.

    Args:
        found: the benchmark.

    Returns:
        Artefacts, one table a figure, streams, published figures, circumstances; those that are empty are left out.
    """
    names = short_names([artefact.name for artefact in found.artefacts])
    parts = [Section("Artefacts", notes=tuple(map(_described, names, found.artefacts)))]
    for figure in Scope:
        rows = tuple(_cells(row, names) for row in found.rows if row.figure is figure)
        if rows:
            header = ("batch", "artefact", "median ms", "p95", "p99", "samples", "images/s", "speed-up")
            parts.append(Section(_TITLES[figure], header, rows))
        elif figure is Scope.COPIES:
            parts.append(Section("With copies: as engine only, for on a CPU nothing is copied"))
    if found.streams:
        parts.append(_streams(found, names))
    if found.published is not None:
        parts.append(_published(found, names))
    if found.skipped:
        by_reason: dict[tuple[int, str], list[str]] = {}
        for one in found.skipped:
            by_reason.setdefault((one.artefact, one.reason), []).append(str(one.batch))
        notes = tuple(
            f"batch {', '.join(sizes)} of {names[index]}: it {reason}" for (index, reason), sizes in by_reason.items()
        )
        parts.append(Section("Not measured", notes=notes))
    threads = "all cores" if found.threads is None else f"{found.threads} CPU threads"
    how = f"{threads} for one inference; {found.seconds:g} s for each cell, artefacts in turns; speed-up over the first"
    parts.append(Section("Circumstances", notes=(*load_snapshot.describe(found.before, found.after), how)))
    if found.warnings:
        parts.append(Section("Warnings", notes=found.warnings))
    return parts


def as_text(parts: Sequence[Section]) -> str:
    """For a terminal, at most 100 columns wide.

    Args:
        parts: what to show.

    Returns:
        Lines, without a line end at the end.
    """
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
    """For a pull request or a README.

    Args:
        parts: what to show.

    Returns:
        Markdown, ending in a line end.
    """
    blocks = ["# Benchmark"]
    for part in parts:
        blocks.append(f"## {part.title}" if part.header or part.notes else part.title)
        if part.header:
            blocks.append("\n".join(Table(part.header, part.rows, _LEFT_ALIGNED).markdown()))
        if part.notes:
            blocks.append("\n".join(f"- {_escaped(note)}" for note in part.notes))
    return "\n\n".join(blocks) + "\n"


def short_names(names: Sequence[str]) -> list[str]:
    """Names that fit a column, and differ.

    Args:
        names: file names; two folders may hold the same.

    Returns:
        Each with control characters escaped, the middle of a long one left out, and numbered where it comes twice.
    """
    short: list[str] = []
    for name in map(printable, names):
        half = (_LONGEST_NAME - 1) // 2
        cut = name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"
        number = 2
        numbered = cut
        while numbered in short:
            numbered = f"{cut} ({number})"
            number += 1
        short.append(numbered)
    return short


def milliseconds(value: float | None) -> str:
    """A time as people compare it: three digits that matter.

    Args:
        value: in ms; None where it is not known.

    Returns:
        The text.
    """
    if value is None:
        return _NOTHING
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _described(name: str, artefact: Artefact) -> str:
    height, width = artefact.input_hw
    return (
        f"{name}: {printable(artefact.variant)} {artefact.precision.value}, input {height}x{width}, "
        f"{artefact.backend} on {artefact.device} in {artefact.arithmetic}, {artefact.size_bytes / 1e6:.1f} MB, "
        f"answering {printable(artefact.picture)}"
    )


def _cells(row: Row, names: Sequence[str]) -> tuple[str, ...]:
    return (
        str(row.batch),
        names[row.artefact],
        milliseconds(row.latency.median_ms),
        milliseconds(row.latency.p95_ms),
        milliseconds(row.latency.p99_ms),
        str(row.latency.samples),
        _rate(row.images_per_second),
        _NOTHING if row.speed_up is None else f"{row.speed_up:.2f}",
    )


def _streams(found: Benchmark, names: Sequence[str]) -> Section:
    rows = tuple(
        (
            str(row.batch),
            names[row.artefact],
            str(row.flow.streams),
            _rate(row.images_per_second),
            f"{row.gain:.2f}",
            milliseconds(row.flow.latency.median_ms),
            milliseconds(row.flow.latency.p95_ms),
        )
        for row in found.streams
    )
    header = ("batch", "artefact", "streams", "images/s", "gain", "median ms", "p95")
    note = "gain: throughput over that of one stream; each stream is a thread, NumPy in and out"
    return Section("Streams that share one engine", header, rows, (note,))


def _published(found: Benchmark, names: Sequence[str]) -> Section:
    """Ours and theirs side by side, under their own names."""
    published = found.published or ()
    settings = sorted({row.setting for row in published}, key=lambda text: (text.split()[::-1], text))
    rows = []
    for row in found.rows:
        artefact = found.artefacts[row.artefact]
        theirs = {
            one.setting: one.latency_ms
            for one in published
            if (one.variant, one.batch, one.input_hw) == (artefact.variant, row.batch, artefact.input_hw)
        }
        if row.figure is Scope.ENGINE and theirs:
            cells = (milliseconds(theirs.get(setting)) for setting in settings)
            rows.append((str(row.batch), names[row.artefact], milliseconds(row.latency.median_ms), *cells))
    title = "Published figures: other hardware, not comparable with this machine"
    sources: dict[str, list[str]] = {}
    for one in published:
        label = f"{one.hardware} ({one.runtime})"
        if label not in sources.setdefault(one.source, []):
            sources[one.source].append(label)
    notes = [f"other hardware: {', '.join(labels)}; source: {source}" for source, labels in sources.items()]
    without = dict.fromkeys(
        f"{printable(artefact.variant)} at {artefact.input_hw[0]}x{artefact.input_hw[1]}"
        for artefact in found.artefacts
        if not any((one.variant, one.input_hw) == (artefact.variant, artefact.input_hw) for one in published)
    )
    notes += [f"nothing is published for {net}" for net in without]
    return Section(title, ("batch", "artefact", "ours, ms", *settings) if rows else (), tuple(rows), tuple(notes))


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
