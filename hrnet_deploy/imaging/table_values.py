"""The values of one column of a Parquet table, read by the process that decodes for another one."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

_ROWS_AT_A_TIME = 8
_READ_BYTES = 1 << 20


def open_table(path: str) -> Any:
    """Open a file whose pages are read one by one; errors are Arrow's."""
    parquet = importlib.import_module("pyarrow.parquet")
    return parquet.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False)


def column_values(path: str, column: str, start: int, stop: int) -> Iterator[bytes | str | None]:
    """Yield the values of some rows, of Hugging Face's images the bytes; errors are Arrow's."""
    table = open_table(path)
    groups, skipped, first = [], 0, 0
    for group in range(table.metadata.num_row_groups):
        last = first + table.metadata.row_group(group).num_rows
        if last > start and first < stop:
            groups.append(group)
        elif last <= start:
            skipped = last
        first = last
    position = skipped
    kinds = importlib.import_module("pyarrow.types")
    names = [f"{column}.bytes" if kinds.is_struct(table.schema_arrow.field(column).type) else column]
    for batch in table.iter_batches(_ROWS_AT_A_TIME, row_groups=groups, columns=names, use_threads=False):
        values = batch.column(0).slice(max(0, start - position), max(0, stop - max(start, position)))
        position += len(batch)
        for value in values.flatten()[0] if kinds.is_struct(values.type) else values:
            yield value.as_py()
        if position >= stop:
            return
