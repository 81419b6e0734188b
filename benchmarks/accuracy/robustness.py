"""Where each calibration method breaks, and whether `auto` chooses right."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from accuracy.judge import Judge
from accuracy.quantizers import METHODS, quantize_ours
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.qdq_plan import QdqTarget
from hrnet_deploy.system.progress import bar

_FEW_IMAGES = 4
_OUTLIER_SHARE = 1e-3


def robustness_rows(judge: Judge, folder: Path, *, quick: bool) -> list[dict[str, Any]]:
    """Measure the agreement of each method by layout and handicap; quick: the `cpu` layout alone."""
    rows: list[dict[str, Any]] = []
    handicaps: dict[str, dict[str, Any]] = {
        "per-tensor weights": {"per_channel": False},
        f"{_FEW_IMAGES} images": {"images": _FEW_IMAGES},
        f"{_OUTLIER_SHARE:.1%} outlier pixels": {"data": _with_outliers(judge, folder)},
    }
    for name, options in handicaps.items():
        within = folder / name.replace(" ", "-").replace("%", "")
        within.mkdir(exist_ok=True)
        for target in list(QdqTarget)[: 1 if quick else None]:
            row: dict[str, Any] = {"model": judge.case.name, "handicap": name, "target": target.value}
            for method in bar(METHODS, desc=f"{judge.case.name} {target.value} {name}"):
                row[method] = quantize_ours(judge, within, method=method, target=target, **options)
            rows.append(row)
    return rows


def _with_outliers(judge: Judge, folder: Path) -> Path:
    """Copy the calibration images and set some pixels to the ends of their range."""
    root = folder / f"{judge.case.name}-outliers"
    source = judge.case.data / "leftImg8bit" / "train" if judge.case.name == "street" else judge.case.data
    for path in (*judge.images.calibration, *judge.images.validation):
        image = read_frame(path.path).image.copy()
        random = np.random.default_rng(zlib.crc32(path.path.name.encode()))
        count = max(1, round(_OUTLIER_SHARE * image.shape[0] * image.shape[1]))
        at = random.integers(0, image.shape[:2], (count, 2))
        image[at[:, 0], at[:, 1]] = random.choice(np.array([0, 255], np.uint8), (count, 3))
        copy = root / path.path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Lossless under the old name, which decides which images are chosen; readers look at the content.
        copy.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return root
