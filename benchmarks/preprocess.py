"""Preprocessing against Pillow and NumPy, pair by pair: resize 256, crop 224, normalize, float32 CHW.

    python benchmarks/preprocess.py [--images DIR] [--limit N] [--rounds N] [--json]

Both sides are timed on every image, so a busy machine slows both; the ratio of a pair is Pillow's time over ours.
cv2 is limited to one thread. Synthetic images of common sizes are measured as well.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import statistics
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from comparison.config import SHARED
from comparison.table import Table
from numpy.typing import NDArray
from PIL import Image

from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import Preprocessing

SYNTHETIC_HW = ((375, 500), (500, 333), (150, 150), (900, 1200), (3000, 4000))
SPEC = Preprocessing()
MEAN, STD = np.array(SPEC.mean, np.float32), np.array(SPEC.std, np.float32)


def by_pillow(image: Image.Image) -> NDArray[np.float32]:
    """Preprocess an RGB image as a careful hand-written script does."""
    width, height = image.size
    size_wh = (256, int(256 * height / width)) if width < height else (int(256 * width / height), 256)
    left, top = (round((side - 224) / 2) for side in size_wh)
    crop = image.resize(size_wh, Image.Resampling.BILINEAR).crop((left, top, left + 224, top + 224))
    pixels = (np.asarray(crop, np.float32) / np.float32(255) - MEAN) / STD
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _ours_from_bytes(preprocess: Preprocessor, content: bytes, out: NDArray[np.float32]) -> object:
    return preprocess(read_frame(content).image, out)


def _pillow_from_bytes(content: bytes) -> object:
    return by_pillow(Image.open(io.BytesIO(content)).convert("RGB"))


def min_ms(call: Callable[[], Any], rounds: int) -> float:
    """Return the time of the fastest call in ms."""
    return 1e3 * min(timeit.repeat(call, number=1, repeat=rounds))


def compare(contents: list[bytes], rounds: int) -> dict[str, dict[str, float]]:
    """Measure medians over the images, from decoded arrays and from encoded bytes."""
    preprocess, out = Preprocessor(SPEC), np.empty((3, 224, 224), np.float32)
    pairs: dict[str, list[tuple[float, float]]] = {"decoded": [], "encoded": []}
    distances = []
    for content in contents:
        frame = read_frame(content).image
        image = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        distances.append(np.abs(preprocess(frame, out) - by_pillow(image)) * (255 * STD[:, None, None]))
        calls: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "decoded": (functools.partial(preprocess, frame, out), functools.partial(by_pillow, image)),
            "encoded": (
                functools.partial(_ours_from_bytes, preprocess, content, out),
                functools.partial(_pillow_from_bytes, content),
            ),
        }
        for name, (ours, theirs) in calls.items():
            pairs[name].append((min_ms(ours, rounds), min_ms(theirs, rounds)))
    report = {name: summary(taken) for name, taken in pairs.items()}
    levels = np.stack(distances)
    shares = {"share_differing": float(np.mean(levels > 0.5)), "max_gray_levels": float(levels.max())}
    return report | {"agreement": {"values": levels.size} | shares}


def summary(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Return median times, and ratios pair by pair."""
    ratios = sorted(theirs / ours for ours, theirs in pairs)
    return {
        "images": len(pairs),
        "ours_ms": statistics.median(ours for ours, _ in pairs),
        "pillow_ms": statistics.median(theirs for _, theirs in pairs),
        "ratio_median": statistics.median(ratios),
        "ratio_min": ratios[0],
        "ratio_max": ratios[-1],
    }


def synthetic(height: int, width: int) -> bytes:
    """Create a smooth image as JPEG."""
    noise = np.random.default_rng(height * width).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))[1])


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=SHARED / "data" / "imagenet", help="folder of images")
    parser.add_argument("--limit", type=int, default=100, help="max. number of images")
    parser.add_argument("--rounds", type=int, default=7, help="calls a measurement; the fastest counts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    files = sorted(p for p in args.images.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg"})[: args.limit]
    sets = {f"{args.images.name} ({len(files)})": [f.read_bytes() for f in files]} if files else {}
    sets |= {f"synthetic {h}x{w}": [synthetic(h, w)] for h, w in SYNTHETIC_HW}
    report = {name: compare(contents, args.rounds) for name, contents in sets.items()}
    if args.json:
        print(json.dumps(report, indent=2))
        return
    table = Table("Preprocessing", ("images", "from", "ours ms", "Pillow ms", "ratio", "min", "max"))
    for name, result in report.items():
        for source in ("decoded", "encoded"):
            row = result[source]
            times = (f"{row['ours_ms']:.3f}", f"{row['pillow_ms']:.3f}")
            ratios = tuple(f"{row[key]:.2f}" for key in ("ratio_median", "ratio_min", "ratio_max"))
            table.rows.append((name, source, *times, *ratios))
        agreement = result["agreement"]
        figures = f"{agreement['share_differing']:.1e}, max. {agreement['max_gray_levels']:.1f} levels"
        table.notes.append(f"{name}: differing {figures}")
    print(table.markdown(), end="")


if __name__ == "__main__":
    main()
