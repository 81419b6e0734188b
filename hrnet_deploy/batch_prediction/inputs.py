"""All images of a run: found in folders, list files, tar shards and Parquet tables, in a fixed order."""

from __future__ import annotations

import functools
import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.batch_prediction.file_span import stamped
from hrnet_deploy.batch_prediction.list_file import inside, read_list
from hrnet_deploy.batch_prediction.parquet_span import ParquetSpan, list_parquet
from hrnet_deploy.batch_prediction.span import Span
from hrnet_deploy.batch_prediction.tar_span import list_tar
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.imaging.folders import IMAGE_SUFFIXES, images_below
from hrnet_deploy.imaging.image_files import VIDEO_SUFFIXES
from hrnet_deploy.imaging.image_url import url_scheme

TABLE_SUFFIXES = frozenset({".tar", ".parquet"})
"""Suffixes of files that hold many images."""
_COMPRESSED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True)
class Inputs:
    """The images of a run."""

    spans: tuple[Span, ...]

    def __len__(self) -> int:
        return sum(map(len, self.spans))

    @functools.cached_property
    def sha256(self) -> str:
        """Digest of names, sizes and times, in hex."""
        digest = hashlib.sha256()
        for span in self.spans:
            for line in span.lines():
                digest.update(line.encode(errors="surrogateescape") + b"\n")
        return digest.hexdigest()


def is_bulk(source: str) -> bool:
    """Decide whether a source needs batch prediction: a list file, tar shard or Parquet file."""
    return source.startswith("@") or Path(source).suffix.lower() in TABLE_SUFFIXES


def find_inputs(sources: Sequence[str], *, column: str | None = None, root: str | None = None) -> Inputs:
    """Find every image of the sources, in their order.

    Sources, column and root are those of `predict_dataset`. HrnetDeployError: a source without images, one that cannot
    be read, or an option that applies to none.
    """
    finder = _Finder(column, root)
    spans = tuple(span for source in sources for span in finder.find(os.fspath(source)) if len(span))
    if column is not None and not finder.has_table:
        raise UsageError("column applies to Parquet files, got none. Leave it out.")
    if root is not None and not finder.has_paths:
        raise UsageError("root applies to list files and paths in Parquet files, got none. Leave it out.")
    if not spans:
        raise ImageError(f"sources must hold images, got none in {', '.join(sources):.200}. Check the paths.")
    return Inputs(spans)


class _Finder:
    """Search of sources; remembers to which of them the options applied."""

    def __init__(self, column: str | None, root: str | None) -> None:
        self._column = column
        self._root = None if root is None else os.path.abspath(root)  # noqa: PTH100 - links stay as they are
        self.has_table = self.has_paths = False
        if self._root is not None and not Path(self._root).is_dir():
            raise MissingFileError(f"root must be a folder, got {root}. Check the path.")

    def find(self, source: str) -> Iterator[Span]:
        """Yield the spans of one source."""
        if source.startswith("@"):
            path = Path(source[1:])
            yield from self._listed(read_list(path), path)
        elif not os.path.exists(source) and glob.has_magic(source):  # noqa: PTH110 - Path.exists raises where unreadable
            known = IMAGE_SUFFIXES | TABLE_SUFFIXES
            matches = glob.glob(source, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
            found = sorted(match for match in matches if Path(match).suffix.lower() in known)
            if not found:
                raise MissingFileError(f"pattern '{source}' must match images or shards, got no match. Check it.")
            yield from self._files(os.getcwd(), found)  # noqa: PTH109
        elif os.path.isdir(source):  # noqa: PTH112 - Path.is_dir raises below an unreadable folder
            names = list(map(str, images_below(Path(source))))
            if not names:
                raise ImageError(f"folder '{source}' must hold images, got none. Name shards one by one or by pattern.")
            yield stamped(os.getcwd(), iter(names))  # noqa: PTH109
        elif not os.path.exists(source) and url_scheme(source) is None:  # noqa: PTH110
            raise MissingFileError(f"source must exist, got no {source}. Check the path.")
        else:
            yield from self._files(os.getcwd(), [source])  # noqa: PTH109

    def _listed(self, texts: list[str], origin: Path) -> Iterator[Span]:
        """Yield the spans of paths that a file names."""
        self.has_paths = True
        root = self._root or os.path.abspath(origin.parent)  # noqa: PTH100
        names = list(inside(root, texts, str(origin)))
        if nested := origin.suffix.lower() in TABLE_SUFFIXES and next(filter(is_bulk, names), ""):
            raise UsageError(
                f"Parquet file {origin} must name images, got '{nested:.200}'. Use a list file for shards."
            )
        yield from self._files(root, names)

    def _files(self, base: str, names: Sequence[str]) -> Iterator[Span]:
        """Yield the spans of files, of which consecutive images form one."""
        images: list[str] = []
        for name in names:
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path for each file takes seconds
            if suffix in TABLE_SUFFIXES:
                yield stamped(base, iter(images))
                images = []
                yield from self._table(Path(base, name), name, suffix)
                continue
            self._check_name(name, suffix)
            images.append(name)
        yield stamped(base, iter(images))

    def _table(self, path: Path, name: str, suffix: str) -> Iterator[Span]:
        if suffix == ".tar":
            yield list_tar(path, name)
            return
        if self._column is None:
            raise UsageError(f"Parquet file {name} needs the name of its column, got none. Name it: --column NAME.")
        self.has_table = True
        found = list_parquet(path, name, self._column)
        if isinstance(found, ParquetSpan):
            yield found
        else:
            yield from self._listed(found, path)

    @staticmethod
    def _check_name(name: str, suffix: str) -> None:
        """Refuse sources without a fixed number of images."""
        if suffix in VIDEO_SUFFIXES:
            raise UsageError(f"batch prediction needs images, got the video {name}. Predict it with --save.")
        if name.lower().endswith(_COMPRESSED):
            raise UsageError(f"tar shard must not be compressed, got {name}. Decompress it: its images already are.")
        if url_scheme(name) is not None:
            raise UsageError(f"batch prediction needs files, got the URL {name:.200}. Download it first.")
