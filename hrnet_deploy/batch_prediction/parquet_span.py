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
from hrnet_deploy.errors import MissingDependencyError, UsageError, one_line
from hrnet_deploy.imaging.decoder_process import DecoderError, table_values
from hrnet_deploy.imaging.table_values import open_table
from hrnet_deploy.limits import LINE_CHARACTERS, LIST_FILE_BYTES, LIST_LINES, TABLE_ROWS
from hrnet_deploy.system.regular_file import check_regular

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
            yield StoredImage(name, functools.partial(_content, value))
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
        return list(_paths(str(path), column, table.metadata.num_rows))
    raise UsageError(f"column '{column}' of {name} must hold bytes or paths, got {kind}. Choose another.")


def _open(path: str, name: str) -> Any:
    """Open a file whose pages are read one by one."""
    import_pyarrow("pyarrow.parquet", "a Parquet source")
    check_regular(Path(path), "Parquet file")
    try:
        table = open_table(path)
        rows = [table.metadata.row_group(group).num_rows for group in range(table.metadata.num_row_groups)]
        _ = table.schema_arrow  # parsed now
    except _BROKEN as error:
        raise _damaged(name, error) from error
    if min(rows, default=0) < 0 or sum(rows) != table.metadata.num_rows:
        raise _damaged(name, ValueError("its row groups do not add up"))
    if sum(rows) > TABLE_ROWS:
        raise UsageError(f"Parquet file must have at most {TABLE_ROWS} rows, got {sum(rows)} in {name}. Divide it.")
    return table


def _paths(path: str, column: str, rows: int) -> Iterator[str]:
    """Yield the texts of a column."""
    if rows > LIST_LINES:
        raise UsageError(f"a list of paths must have at most {LIST_LINES} rows, got {rows} in {path}. Divide it.")
    size = 0
    for row, value in enumerate(_values(path, column, 0, rows)):
        if value is None:
            raise UsageError(f"column '{column}' must hold a path in each row, got null in row {row}.")
        if len(value) > LINE_CHARACTERS * 4 or (size := size + len(value)) > LIST_FILE_BYTES:
            raise UsageError(f"column '{column}' must hold paths, got longer texts at row {row}. Choose another.")
        yield value.decode()


def _values(path: str, column: str, start: int, stop: int) -> Iterator[bytes | None]:
    """Yield the values of some rows, of Hugging Face's images the bytes, and of texts their UTF-8."""
    import_pyarrow("pyarrow.parquet", "a Parquet source")
    try:
        yield from table_values(path, column, start, stop)
    except DecoderError as error:
        raise _damaged(path, error) from error


def _damaged(name: str, error: Exception) -> UsageError:
    return UsageError(f"Parquet file must be readable, got {name} ({one_line(error, 200)}). Write it again.")


def _is_bytes(kinds: Any, kind: Any) -> bool:
    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_fixed_size_binary(kind))


def _has_bytes(kinds: Any, kind: Any) -> bool:
    """Recognize Hugging Face's image feature, a struct of bytes and path."""
    index = kind.get_field_index("bytes")
    return index >= 0 and _is_bytes(kinds, kind.field(index).type)


def _content(value: bytes | None) -> bytes:
    """Return the bytes of one image, none for null."""
    return value or b""
