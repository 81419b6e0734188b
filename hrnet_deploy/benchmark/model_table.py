"""A benchmark in the layout of published tables: a row for each model, a column for each precision and batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from hrnet_deploy.benchmark.published_latency import published_latencies
from hrnet_deploy.benchmark.result import Benchmark, Scope
from hrnet_deploy.benchmark.tables import Section, milliseconds
from hrnet_deploy.spec import Precision

_Cells = Mapping[tuple[str, str, int], float]
"""Milliseconds by model, setting (such as "int8" or "Tesla T4 fp16") and batch."""


def model_sections(benchmark: Benchmark) -> list[Section]:
    """Arrange the median latencies of the engines, and below them the published ones of the same models."""
    ours = {
        (artifact.variant, artifact.precision.value, row.batch): row.latency.median_ms
        for row in benchmark.rows
        if row.scope is Scope.ENGINE
        for artifact in (benchmark.artifacts[row.artifact],)
    }
    models = list(dict.fromkeys(artifact.variant for artifact in benchmark.artifacts))
    batches = sorted({row.batch for row in benchmark.rows})
    sizes = {artifact.variant: artifact.input_hw for artifact in benchmark.artifacts}
    theirs = {
        (row.variant, row.setting, row.batch): row.latency_ms
        for row in published_latencies()
        if sizes.get(row.variant) == row.input_hw and row.batch in batches
    }
    order = [precision.value for precision in Precision]
    first = benchmark.artifacts[0]
    parts = [
        Section(
            f"Latency of the engine on this machine ({first.backend} on {first.device}), median ms by batch",
            *_grid(ours, models, batches, order.index),
        )
    ]
    if theirs:
        sources = dict.fromkeys(row.source for row in published_latencies() if row.variant in sizes)
        grid = _grid(theirs, models, batches, lambda setting: (setting.split()[1], order.index(setting.split()[-1])))
        title = "Published latency, TensorRT: other hardware, not comparable with this machine, ms by batch"
        parts.append(Section(title, *grid, tuple(f"source: {source}" for source in sources)))
    without = [model for model in models if not any(model == name for name, _, _ in theirs)]
    if without:
        parts.append(Section("Published latency: nothing at these sizes for " + ", ".join(without)))
    return parts


def _grid(
    cells: _Cells, models: Iterable[str], batches: Sequence[int], order: Callable[[str], object]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the header and the rows of a table; models and columns without any figure are left out."""
    settings = sorted({setting for _, setting, _ in cells}, key=order)  # type: ignore[arg-type]
    columns = [(setting, batch) for setting in settings for batch in batches]
    columns = [column for column in columns if any((name, *column) in cells for name in models)]
    header = ("model", *(f"{setting} b{batch}" for setting, batch in columns))
    rows = tuple(
        (name, *(milliseconds(cells.get((name, *column))) for column in columns))
        for name in models
        if any(name == known for known, _, _ in cells)
    )
    return header, rows
