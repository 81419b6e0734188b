"""Pixels in and labels out against the plain path, at the size of a street picture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contest import peers
from contest.section import Key, Record, Records
from contest.setting import Setting, say
from contest.table import Table
from contest.turns import Times, in_turns, ratio
from hrnet_deploy import Predictor
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.probe import probe_images
from hrnet_deploy.spec import Task

_PLAIN, _SHORT = "floats in, logits out", "pixels in, labels out"


def keys(names: Sequence[str], *, quick: bool) -> list[Key]:
    """(net, HxW), of the first net that segments."""
    chosen = [name for name in names if find_variant(name).task is Task.SEGMENTATION][:1] or ["hrnetv2_w18_small_v1"]
    return [(name, "256x512" if quick else "1024x2048") for name in chosen]


def measure(setting: Setting, key: Key) -> Record:
    """From one decoded picture to its mask, both ways."""
    name = key[0]
    height, width = (int(side) for side in key[1].split("x"))
    size_hw = (height, width)
    image = probe_images(1, size_hw)[0]
    weights = peers.checkpoint(name, setting.folder)
    ends: dict[str, tuple[str, ...]] = {_PLAIN: (), _SHORT: ("pixels_in", "labels_out")}
    ways = {
        way: Predictor(setting.artefact(name, "fp32", size_hw, weights, *end), device="cpu")
        for way, end in ends.items()
    }
    masks = [predictor.predict(image).mask for predictor in ways.values()]
    say(f"segmentation {' '.join(key)}: measures {len(ways)} ways")
    calls = {way: lambda p=predictor: p.predict(image) for way, predictor in ways.items()}
    times = in_turns(calls, seconds=setting.seconds, least=setting.rounds)
    traffic = {way: _traffic(predictor) for way, predictor in ways.items()}
    return {"times": times, "bytes": traffic, "alike": float(np.mean(masks[0] == masks[1])), "notes": []}


def table(records: Records) -> Table:
    """A line a way."""
    head = ("net", "size", "path", "MB in", "MB out", "ms an image", "plain / it", "rounds")
    lines = Table("Segmentation", head)
    for (name, size), record in records.items():
        times: Times = record["times"]
        for way, taken in times.items():
            megabytes = tuple(f"{count / 1e6:.1f}" for count in record["bytes"][way])
            cells = (f"{1e3 * statistics.median(taken):.0f}", f"{ratio(times[_PLAIN], taken):.2f}", str(len(taken)))
            lines.rows.append((name, size, way, *megabytes, *cells))
        lines.notes.append(f"{name}: {record['alike']:.4%} of the pixels alike at {size} (99.9 % wanted)")
    return lines


def _traffic(predictor: Predictor) -> tuple[int, int]:
    """Bytes that enter and leave the engine for one picture."""
    spec = predictor.card.inputs[0]
    feed: NDArray[Any] = np.zeros(tuple(size if isinstance(size, int) else 1 for size in spec.shape), spec.dtype)
    return feed.nbytes, sum(array.nbytes for array in predictor.infer(feed).values())
