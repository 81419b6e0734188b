"""Calibration: one pass of images through the float32 graph measures the table of ranges."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from hrnet_deploy.calibration import collector
from hrnet_deploy.calibration.batches import Batches
from hrnet_deploy.calibration.histogram import Histogram
from hrnet_deploy.calibration.image_folder import find_images
from hrnet_deploy.calibration.image_selection import (
    CalibrationImage,
    check_disjoint,
    choose,
    content_hashes,
    image_list_hash,
)
from hrnet_deploy.calibration.qdq_placement import place_qdq
from hrnet_deploy.calibration.table import CalibrationTable, Provenance, TensorRange
from hrnet_deploy.calibration.thresholds import METHODS, amax
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import ArtifactError, ImageError, MissingFileError, UsageError
from hrnet_deploy.export.verify import pad_batch
from hrnet_deploy.exporters.intermediate_outputs import expose_tensors
from hrnet_deploy.qdq_plan import QdqTarget, Residual
from hrnet_deploy.spec import Preprocessing
from hrnet_deploy.system.progress import bar
from hrnet_deploy.version import VERSION

DATA_VARIABLE = "HRNET_CALIB_DATA"
_LOG = logging.getLogger(__name__)
_VALIDATION_IMAGES = 64
_VALIDATION_DIVISOR = 5
"""If all images are requested, one in this many is set aside for validation."""


@dataclass(frozen=True)
class CalibrationSplit:
    """Images to calibrate on, and other images for validation."""

    calibration: tuple[CalibrationImage, ...]
    validation: tuple[CalibrationImage, ...]


def named_folder(option: str | Path | None) -> Path | None:
    """Find the folder of images that the user or else the environment names; None if neither does."""
    named = option or os.environ.get(DATA_VARIABLE)
    return Path(named) if named else None


def select_images(folder: Path, count: int, *, allow_val: bool) -> CalibrationSplit:
    """Choose calibration images, balanced over classes, and set others aside; a single image is in both lists."""
    if count < 1:
        raise UsageError(f"--calib-images must be at least 1, got {count}. The default is 512.")
    found = find_images(folder, allow_val=allow_val)
    ranked = choose(found, min(len(found), count + _VALIDATION_IMAGES))
    if len(ranked) == 1:
        return CalibrationSplit(ranked, ranked)
    # Images that were not requested are for validation; if there are few, some of the requested ones join them.
    aside = max(len(ranked) - count, min(_VALIDATION_IMAGES, max(1, len(ranked) // _VALIDATION_DIVISOR)))
    return CalibrationSplit(ranked[:-aside], ranked[-aside:])


def choose_validation(
    images: CalibrationSplit, others: Sequence[CalibrationImage] | None, *, allow_overlap: bool
) -> CalibrationSplit:
    """Choose validation images whose content differs from that of all calibration images."""
    if others is not None:
        check_disjoint(images.calibration, others, allow=allow_overlap)
        return CalibrationSplit(images.calibration, choose(others, _VALIDATION_IMAGES))
    seen = set(content_hashes(images.calibration))
    hashes = content_hashes(images.validation)
    distinct = tuple(image for image, digest in zip(images.validation, hashes, strict=True) if digest not in seen)
    return CalibrationSplit(images.calibration, distinct or images.validation)


def calibrate(
    graph: onnx.ModelProto, images: CalibrationSplit, preprocessing: Preprocessing, method: str, cache: Path
) -> CalibrationTable:
    """Measure every value that may be quantized, by every method, in one pass; a cache that matches is read instead."""
    provenance = Provenance(
        graph_sha256=hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest(),
        image_list_sha256=image_list_hash(content_hashes(images.calibration)),
        images=len(images.calibration),
        preprocessing=json.loads(json.dumps(asdict(preprocessing))),
        versions={"hrnet-deploy": VERSION},
    )
    # The values that any layout may quantize: one table serves all layouts and any --keep-fp.
    layouts = ((QdqTarget.CPU, Residual.FLOAT), *((QdqTarget.TENSORRT, residual) for residual in Residual))
    placed = (name for target, residual in layouts for name in place_qdq(graph, target, (), residual).measured)
    names = tuple(dict.fromkeys(placed))
    if cache.is_file():
        try:
            cached = CalibrationTable.load(cache)
            reason = cached.mismatch(provenance, tensors=names)
            if reason is None:  # its scores belong to other graphs, perhaps for another target
                return CalibrationTable(tensors=cached.tensors, method=method, provenance=cached.provenance)
        except ArtifactError as error:
            reason = str(error).removeprefix(f"{cache}: ")
        _LOG.warning("%s: calibrating again, since %s", cache.name, reason.removesuffix(" Calibrate again."))
    histograms = _histograms(graph, names, images, preprocessing, cache, provenance)

    def measured(histogram: Histogram) -> TensorRange:
        amaxes = {m: amax(histogram, m, unsigned=histogram.low >= 0) for m in METHODS}
        return TensorRange.measured(histogram, amaxes)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ranges = pool.map(measured, histograms.values())
        found = bar(ranges, total=len(histograms), unit="tensor", desc="finding thresholds")
        tensors = dict(zip(histograms, found, strict=True))
    table = CalibrationTable(tensors=tensors, method=method, provenance=provenance)
    table.save(cache)
    return table


def _histograms(
    graph: onnx.ModelProto,
    names: tuple[str, ...],
    images: CalibrationSplit,
    preprocessing: Preprocessing,
    cache: Path,
    provenance: Provenance,
) -> dict[str, Histogram]:
    tapped, taps = expose_tensors(graph, names)
    engine = open_engine(tapped, device="cpu", backend="onnxruntime")
    del tapped
    spec = engine.inputs[0]
    fixed = spec.shape[0]
    batches = Batches(images.calibration, preprocessing, fixed if isinstance(fixed, int) else 1)

    def feeds(start: int) -> Iterator[NDArray[np.float32]]:
        return (pad_batch(batch, spec) for batch in batches.from_index(start))

    state = cache.with_name(f"{cache.name}.partial")
    try:
        return collector.collect(
            engine,
            taps,
            feeds,
            images=len(images.calibration),
            state=state,
            key=hashlib.sha256(json.dumps(asdict(provenance), sort_keys=True).encode()).hexdigest(),
        )
    except (ImageError, UsageError, MissingFileError):
        # Without that image, or with another graph, the key differs: the finished part is of no use.
        state.unlink(missing_ok=True)
        raise
