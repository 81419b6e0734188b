"""Parquet tables: a column of encoded images, or of paths."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrnet_deploy.batch_prediction.file_stamp import FileStamp
from hrnet_deploy.batch_prediction.stored_image import StoredImage
from hrnet_deploy.errors import ImageError, MissingDependencyError, UsageError, one_line
from hrnet_deploy.limits import IMAGE_FILE_BYTES
from hrnet_deploy.system.regular_file import check_regular

_ROWS_AT_A_TIME = 32
_READ_BYTES = 1 << 20
_BROKEN = (OSError, ValueError, MemoryError, RuntimeError, LookupError, TypeError)
"""Bases of all errors of Arrow."""


@dataclass(frozen=True)
class ParquetSpan:
    """Consecutive rows of a column of encoded images; rows count from 0 in the file."""

    path: str
    name: str
    stamp: FileStamp
    column: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def cut(self, start: int, stop: int) -> ParquetSpan:
        """Return a part of the span."""
        stop = min(self.start + stop, self.stop)
        return ParquetSpan(self.path, self.name, self.stamp, self.column, self.start + start, stop)

    def images(self) -> Iterator[StoredImage]:
        """Yield the images in order; UsageError where the file is damaged."""
        row = self.start
        for value in _values(self.path, self.column, self.start, self.stop):
            name = f"{self.name}#{row}"
            yield StoredImage(name, functools.partial(_content, name, value))
            row += 1
        if row != self.stop:
            raise UsageError(f"Parquet file must hold {self.stop} rows, got {row} in {self.name}. Write it again.")

    def check(self) -> None:
        """Refuse a file that differs from the one that was listed."""
        self.stamp.check(self.path)

    def lines(self) -> Iterator[str]:
        """Describe the images for the digest of all inputs."""
        rows = f"{self.column}\0{self.start}\0{self.stop}"
        yield f"parquet\0{self.name}\0{rows}\0{self.stamp.size}\0{self.stamp.mtime_ns}"


def import_pyarrow(module: str, what: str) -> Any:
    """Import a module of pyarrow; MissingDependencyError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs the extra parquet, got: {error}. pip install 'hrnet-deploy[parquet]'."
        ) from error


def list_parquet(path: Path, name: str, column: str) -> ParquetSpan | list[str]:
    """Return the rows of a column of bytes, or the texts of a column of paths.

    UsageError: the file is damaged, the column is missing or of another type, or a path is null.
    """
    kinds = import_pyarrow("pyarrow.types", "a Parquet source")
    table = _open(str(path), name)
    schema = table.schema_arrow
    if schema.names.count(column) != 1:
        known = ", ".join(schema.names)
        raise UsageError(f"column must be one of Parquet file {name}, got '{column}'. It has: {known:.200}.")
    kind = schema.field(column).type
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    if _is_bytes(kinds, kind) or (kinds.is_struct(kind) and _has_bytes(kinds, kind)):
        rows = table.metadata.num_rows
        return ParquetSpan(os.path.abspath(path), name, FileStamp.of(str(path)), column, 0, rows)  # noqa: PTH100
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        texts = list(_values(str(path), column, 0, table.metadata.num_rows))
        if None in texts:
            raise UsageError(f"column '{column}' must hold a path in each row, got null in row {texts.index(None)}.")
        return texts
    raise UsageError(f"column '{column}' of {name} must hold bytes or paths, got {kind}. Choose another.")


def _open(path: str, name: str) -> Any:
    """Open a file whose pages are read one by one."""
    parquet = import_pyarrow("pyarrow.parquet", "a Parquet source")
    check_regular(Path(path), "Parquet file")
    try:
        table = parquet.ParquetFile(path, buffer_size=_READ_BYTES, pre_buffer=False)
        rows = [table.metadata.row_group(group).num_rows for group in range(table.metadata.num_row_groups)]
        _ = table.schema_arrow  # parsed now
    except _BROKEN as error:
        raise _damaged(name, error) from error
    if min(rows, default=0) < 0 or sum(rows) != table.metadata.num_rows:
        raise _damaged(name, ValueError("its row groups do not add up"))
    return table


def _values(path: str, column: str, start: int, stop: int) -> Iterator[Any]:
    """Yield the values of some rows, of Hugging Face's images the bytes."""
    table = _open(path, path)
    groups, skipped, first = [], 0, 0
    for group in range(table.metadata.num_row_groups):
        last = first + table.metadata.row_group(group).num_rows
        if last > start and first < stop:
            groups.append(group)
        elif last <= start:
            skipped = last
        first = last
    position = skipped
    kinds = import_pyarrow("pyarrow.types", "a Parquet source")
    names = [f"{column}.bytes" if kinds.is_struct(table.schema_arrow.field(column).type) else column]
    try:
        for batch in table.iter_batches(_ROWS_AT_A_TIME, row_groups=groups, columns=names, use_threads=False):
            values = batch.column(0).slice(max(0, start - position), max(0, stop - max(start, position)))
            position += len(batch)
            for value in values.flatten()[0] if kinds.is_struct(values.type) else values:
                yield value.as_py()
            if position >= stop:
                return
    except _BROKEN as error:
        raise _damaged(path, error) from error


def _damaged(name: str, error: Exception) -> UsageError:
    return UsageError(f"Parquet file must be readable, got {name} ({one_line(error, 200)}). Write it again.")


def _is_bytes(kinds: Any, kind: Any) -> bool:
    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_fixed_size_binary(kind))


def _has_bytes(kinds: Any, kind: Any) -> bool:
    """Recognize Hugging Face's image feature, a struct of bytes and path."""
    index = kind.get_field_index("bytes")
    return index >= 0 and _is_bytes(kinds, kind.field(index).type)


def _content(name: str, value: bytes | None) -> bytes:
    """Return the bytes of one image."""
    if value is not None and len(value) > IMAGE_FILE_BYTES:
        raise ImageError(f"image '{name}' must have at most {IMAGE_FILE_BYTES} bytes, got {len(value)}. Cut it.")
    return value or b""
