"""Features of many images in one file, NumPy's .npz or Parquet, written in bounded memory and as a whole."""

from __future__ import annotations

import contextlib
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.lib import format as npy_format

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.batch_prediction.parquet_span import import_pyarrow
from hrnet_deploy.errors import UsageError
from hrnet_deploy.feature_result import FeatureResult
from hrnet_deploy.system.write_errors import writing

FORMATS = (".npz", ".parquet")
"""File types of features."""
_NAMES = "names"
_NAMES_AT_A_TIME = 10_000
_GROUP_BYTES = 1 << 25
"""Bytes of the features in one row group of a Parquet file."""


class FeatureWriter(Protocol):
    """Writer of features."""

    def add(self, result: FeatureResult) -> None:
        """Write the features of one image."""
        ...


@contextlib.contextmanager
def open_feature_file(path: Path) -> Iterator[FeatureWriter]:
    """Write features into a file, which appears when the body ends without an error.

    1. An .npz file has the members `names` (N,) and, for each output, its features (N, C) or (N, C, H, W).
    2. A Parquet file has the columns `name` and, for each output, `<output>`, a list of float32, and
       `<output>_shape`, a list of int32: images may differ in size.

    Raises:
        UsageError: another suffix, a folder that cannot be written to, a full disk, or, for .npz, features of images
            of several sizes.
        MissingDependencyError: a Parquet file, and pyarrow is not installed.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"--features must name a file that ends in {' or '.join(FORMATS)}, got {path}. Rename it.")
    with writing(path), atomic_output(path) as temporary, contextlib.ExitStack() as stack:
        if path.suffix == ".parquet":
            yield stack.enter_context(contextlib.closing(_ParquetFeatures(temporary)))
            return
        writer = _NpzFeatures(temporary, stack)
        yield writer
        writer.finish()


class _NpzFeatures:
    """Writer of an .npz file: arrays grow in files of their own, since a member begins with its number of rows."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self._path, self._stack = path, stack
        self._names: list[str] = []
        self._files: dict[str, BinaryIO] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def add(self, result: FeatureResult) -> None:
        for name, array in result.arrays().items():
            if name not in self._files:
                place = self._path.with_name(f"{len(self._files)}.rows")
                self._stack.callback(place.unlink)
                self._files[name] = self._stack.enter_context(place.open("w+b"))
                self._shapes[name] = array.shape
            if array.shape != self._shapes[name]:
                raise UsageError(
                    f"an .npz file needs features of one size, got {name} {self._shapes[name]} and {array.shape} of "
                    f"{result.name}. Write .parquet, or export with a fixed --imgsz."
                )
            self._files[name].write(np.ascontiguousarray(array, "<f4").data)
        self._names.append(result.name)

    def finish(self) -> None:
        """Write the members."""
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            longest = max(map(len, self._names), default=1) or 1
            with _member(archive, _NAMES, f"<U{longest}", (len(self._names),)) as member:
                for start in range(0, len(self._names), _NAMES_AT_A_TIME):
                    member.write(np.array(self._names[start : start + _NAMES_AT_A_TIME], f"<U{longest}").tobytes())
            for name, file in self._files.items():
                file.seek(0)
                with _member(archive, name, "<f4", (len(self._names), *self._shapes[name])) as member:
                    shutil.copyfileobj(file, member, 1 << 20)


@contextlib.contextmanager
def _member(archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]) -> Iterator[Any]:
    """Open a member of an .npz file behind the header of its array."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        npy_format.write_array_header_2_0(member, header)
        yield member


class _ParquetFeatures:
    """Writer of a Parquet file: a row for each image, and for each output its values and their shape."""

    def __init__(self, path: Path) -> None:
        self._arrow = import_pyarrow("pyarrow", "--features with .parquet")
        self._parquet = import_pyarrow("pyarrow.parquet", "--features with .parquet")
        self._path = path
        self._writer: Any = None
        self._rows: list[FeatureResult] = []
        self._bytes = 0

    def add(self, result: FeatureResult) -> None:
        self._rows.append(result)
        self._bytes += sum(array.nbytes for array in result.arrays().values())
        if self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        if self._writer is None:  # a table without rows has no outputs
            self._writer = self._parquet.ParquetWriter(self._path, self._arrow.schema([("name", self._arrow.string())]))
        self._writer.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        arrow = self._arrow
        columns = {"name": arrow.array([row.name for row in self._rows], arrow.string())}
        for name in self._rows[0].arrays():
            arrays = [np.ascontiguousarray(row.arrays()[name], np.float32) for row in self._rows]
            offsets = np.cumsum([0, *(array.size for array in arrays)])
            values = arrow.array(np.concatenate([array.ravel() for array in arrays]))
            columns[name] = arrow.ListArray.from_arrays(arrow.array(offsets, arrow.int32()), values)
            shapes = [list(array.shape) for array in arrays]
            columns[f"{name}_shape"] = arrow.array(shapes, arrow.list_(arrow.int32()))
        table = arrow.table(columns)
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)
        self._rows, self._bytes = [], 0
