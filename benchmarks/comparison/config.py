"""The options of a run, the protocol of a suite, and the files that are created once."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2

import hrnet_deploy
from comparison.table import Table
from hrnet_deploy import export
from hrnet_deploy.export.result import AgreementError
from hrnet_deploy.imaging.synthetic_images import synthetic_images

Key = tuple[str, ...]
"""A group within its suite, such as ("hrnet_w18", "int8", "batch-8")."""
Record = dict[str, Any]
"""Measurements of a group, as JSON; `notes` is a list of lines for below the table."""
Records = Mapping[Key, Record]


class Suite(Protocol):
    """A module of this package that measures something."""

    def keys(self, names: Sequence[str], *, quick: bool) -> list[Key]:
        """Return the groups of some models, in the order of the table."""
        ...

    def measure(self, config: Config, key: Key) -> Record:
        """Measure one group; may raise anything."""
        ...

    def table(self, records: Records) -> Table:
        """Tabulate the records of groups that did not fail."""
        ...


MODELS = {
    "hrnet_w18_small_v2": (224, 224),
    "hrnet_w18": (224, 224),
    "hrnet_w48": (224, 224),
    "hrnetv2_w18_small_v1": (512, 1024),
    "hrnetv2_w18_small_v2": (512, 1024),
}
"""Models of the tables and their (height, width)."""
QUICK_MODELS = ("hrnet_w18_small_v2",)
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CALIBRATION_IMAGES = 8
_EXPORTING_ROOMS = ("calibration", "exporters", "models", "export")


@dataclass(frozen=True)
class Config:
    """The options of a run.

    Attributes:
        folder: for files.
        data: folder of JPEGs.
        seconds: for one group of contenders.
        quick: as little as shows that it works.
        compiled: models for which torch.compile takes part.
    """

    folder: Path
    data: Path
    seconds: float
    quick: bool
    compiled: frozenset[str]

    def jpegs(self, count: int) -> list[Path]:
        """Return so many images, repeated where there are fewer."""
        found = sorted(p for p in self.data.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg"})
        return [found[index % len(found)] for index in range(count)]

    def photos(self, count: int) -> Path:
        """Return a folder of so many JPEGs."""
        folder = self.folder / f"photos-{count}"
        folder.mkdir(exist_ok=True)
        for index, file in enumerate(self.jpegs(count)):
            (folder / f"{index:03}.jpg").write_bytes(file.read_bytes())
        return folder

    def artifact_path(self, variant: str, precision: str, imgsz: tuple[int, int], *words: str) -> Path:
        """Return where an artifact of this version of the exporting code lies."""
        name = "-".join((variant, precision, f"{imgsz[0]}x{imgsz[1]}", *words))
        return self.folder / f"ours-{_code_digest()}" / f"{name}.onnx"

    def artifact(self, variant: str, precision: str, imgsz: tuple[int, int], weights: Path, **options: Any) -> Path:
        """Export an artifact once; the options are those of `export`."""
        path = self.artifact_path(variant, precision, imgsz, *(f"{name}_{value}" for name, value in options.items()))
        if precision == "int8":
            int8 = {"calib_images": CALIBRATION_IMAGES, "calib_method": "minmax", "allow_val": True}
            options = {"calib_data": self.data, "keep_rejected": True} | int8 | options

        def create(unfinished: Path) -> None:
            log(f"exports {path.stem}")
            with contextlib.suppress(AgreementError):  # random weights predict at random
                export(variant, weights=str(weights), precision=precision, imgsz=imgsz, output=unfinished, **options)

        return created_once(path, create)


def created_once(path: Path, create: Callable[[Path], object]) -> Path:
    """Create a file or folder where there is none; an interruption leaves none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"unfinished-{path.name}")
        create(unfinished)
        unfinished.replace(path)
    return path


def synthetic_photos(folder: Path) -> Path:
    """Create JPEGs of a camera's size, where there are no real ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(synthetic_images(16, (375, 500))):
        cv2.imwrite(str(folder / f"{index:03}.jpg"), image)
    return folder


def log(text: str) -> None:
    """Print the current step on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@functools.cache
def _code_digest() -> str:
    """Digest the code that decides what an export contains."""
    root = Path(hrnet_deploy.__file__).parent
    digest = hashlib.sha256()
    for room in _EXPORTING_ROOMS:
        for file in sorted((root / room).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
