"""Parts of the results: JSON lines, Parquet tables, or folders of masks, written as a whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from hrnet_deploy.artifact.files import atomic_folder, atomic_output, sha256_file
from hrnet_deploy.batch_prediction.parquet_span import import_pyarrow
from hrnet_deploy.batch_prediction.row import Row
from hrnet_deploy.results import Result
from hrnet_deploy.spec import Task
from hrnet_deploy.system.scratch_folder import sweep

ROWS_NAME = "rows.jsonl"
_SUFFIXES = {"jsonl": ".jsonl", "parquet": ".parquet", "masks": ""}
FORMATS = tuple(_SUFFIXES)
"""Formats of results."""
_ROWS_AT_A_TIME = 1000
_STEM_CHARACTERS = 100


class PartWriter(Protocol):
    """Writer of one part."""

    def add(self, row: Row, result: Result | None) -> None:
        """Write a row, and the mask of its result where the format has masks."""
        ...


def part_name(number: int, form: str) -> str:
    """Return the file name of a part, which sorts by its number."""
    return f"part-{number:06d}{_SUFFIXES[form]}"


@contextlib.contextmanager
def open_part(folder: Path, number: int, form: str, task: Task) -> Iterator[PartWriter]:
    """Write a part atomically; UsageError where the folder or disk cannot take it."""
    target = folder / part_name(number, form)
    with contextlib.ExitStack() as stack:
        if form == "masks":
            temporary = stack.enter_context(atomic_folder(target))
            yield _MaskWriter(temporary, stack.enter_context((temporary / ROWS_NAME).open("wb")).write)
            return
        temporary = stack.enter_context(atomic_output(target))
        if form == "jsonl":
            yield _JsonLinesWriter(stack.enter_context(temporary.open("wb")).write)
        else:
            yield stack.enter_context(contextlib.closing(_ParquetWriter(temporary, task)))


def part_digest(path: Path) -> str:
    """Compute the SHA-256 of a part in hex; of a folder, that of its files' names and digests."""
    if not path.is_dir():
        return sha256_file(path)
    lines = [f"{file.name} {sha256_file(file)}\n" for file in sorted(path.iterdir())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def remove_unfinished(folder: Path) -> None:
    """Delete what interrupted writers left behind, also on other hosts: the caller holds the folder."""
    sweep(folder, foreign_age_s=0)


class _JsonLinesWriter:
    """Writer of one JSON object a line."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def add(self, row: Row, _: Result | None) -> None:
        self._write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


class _MaskWriter:
    """Writer of class ids as one-channel PNG files, and of the rows, which name them."""

    def __init__(self, folder: Path, write: Callable[[bytes], object]) -> None:
        self._folder = folder
        self._rows = _JsonLinesWriter(write)

    def add(self, row: Row, result: Result | None) -> None:
        if result is not None:
            # The index makes names unique; names of archives and tables may hold anything.
            stem = re.sub(r"[^A-Za-z0-9_-]+", "_", PurePosixPath(row["name"]).stem)[:_STEM_CHARACTERS]
            row = row | {"mask": f"{row['index']:09d}_{stem}.png"}
            result.save_mask(self._folder / row["mask"])
        self._rows.add(row, result)


class _ParquetWriter:
    """Writer of a Parquet table."""

    def __init__(self, path: Path, task: Task) -> None:
        self._arrow = import_pyarrow("pyarrow", "format parquet")
        self._schema = _schema(self._arrow, task)
        self._writer = import_pyarrow("pyarrow.parquet", "format parquet").ParquetWriter(path, self._schema)
        self._rows: list[Row] = []

    def add(self, row: Row, _: Result | None) -> None:
        shares = {"shares": list(row["shares"].items())} if "shares" in row else {}
        self._rows.append(row | shares)
        if len(self._rows) == _ROWS_AT_A_TIME:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


def _schema(arrow: Any, task: Task) -> Any:
    """Return the columns of a task; a row with an error has nulls in all others."""
    columns = [("index", arrow.int64()), ("name", arrow.string())]
    if task is Task.CLASSIFICATION:
        columns += [("pred_label", arrow.int32()), ("pred_score", arrow.float32()), ("pred_class", arrow.string())]
        columns += [("pred_labels", arrow.list_(arrow.int32())), ("pred_scores", arrow.list_(arrow.float32()))]
    else:
        columns += [("height", arrow.int32()), ("width", arrow.int32())]
        columns += [("shares", arrow.map_(arrow.string(), arrow.float64()))]
    return arrow.schema([*columns, ("error", arrow.string())])
