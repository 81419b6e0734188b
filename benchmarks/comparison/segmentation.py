"""Pixels in and labels out against the plain path, at the size of a street image."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comparison import baselines
from comparison.config import Config, Key, Record, Records, log
from comparison.interleave import Times, ratio, time_rounds
from comparison.table import Table
from hrnet_deploy import Predictor
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.spec import Task

_PLAIN, _SHORT = "floats in, logits out", "pixels in, labels out"


def keys(names: Sequence[str], *, quick: bool) -> list[Key]:
    """Return (model, HxW) of the first model that segments."""
    chosen = [name for name in names if find_variant(name).task is Task.SEGMENTATION][:1] or ["hrnetv2_w18_small_v1"]
    return [(name, "256x512" if quick else "1024x2048") for name in chosen]


def measure(config: Config, key: Key) -> Record:
    """Time both paths from one decoded image to its mask."""
    name = key[0]
    height, width = (int(side) for side in key[1].split("x"))
    size_hw = (height, width)
    image = synthetic_images(1, size_hw)[0]
    weights = baselines.checkpoint(name, config.folder)
    options: dict[str, dict[str, bool]] = {_PLAIN: {}, _SHORT: {"pixels_in": True, "labels_out": True}}
    paths = {
        path: Predictor(config.artifact(name, "fp32", size_hw, weights, **chosen), device="cpu")
        for path, chosen in options.items()
    }
    masks = [predictor.predict(image).mask for predictor in paths.values()]
    log(f"segmentation {' '.join(key)}: measures {len(paths)} paths")
    calls = {path: lambda p=predictor: p.predict(image) for path, predictor in paths.items()}
    times = time_rounds(calls, seconds=config.seconds)
    traffic = {path: _traffic(predictor) for path, predictor in paths.items()}
    return {"times": times, "bytes": traffic, "equal": float(np.mean(masks[0] == masks[1])), "notes": []}


def table(records: Records) -> Table:
    """Tabulate one path a row."""
    head = ("model", "size", "path", "MB in", "MB out", "ms an image", "plain / it", "rounds")
    lines = Table("Segmentation", head)
    for (name, size), record in records.items():
        times: Times = record["times"]
        for path, taken in times.items():
            megabytes = tuple(f"{count / 1e6:.1f}" for count in record["bytes"][path])
            cells = (f"{1e3 * statistics.median(taken):.0f}", f"{ratio(times[_PLAIN], taken):.2f}", str(len(taken)))
            lines.rows.append((name, size, path, *megabytes, *cells))
        lines.notes.append(f"{name}: {record['equal']:.4%} of the pixels equal at {size} (99.9 % wanted)")
    return lines


def _traffic(predictor: Predictor) -> tuple[int, int]:
    """Return the bytes that enter and leave the engine for one image."""
    spec = predictor.card.inputs[0]
    feed: NDArray[Any] = np.zeros(tuple(size if isinstance(size, int) else 1 for size in spec.shape), spec.dtype)
    return feed.nbytes, sum(array.nbytes for array in predictor.infer(feed).values())
