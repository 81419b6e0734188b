"""Preprocessing against Pillow + NumPy, pair by pair: resize 256, crop 224, normalise, float32 CHW.

    python benchmarks/preprocess.py [--images DIR] [--limit N] [--rounds N] [--json]

Both sides take turns on every image, so a busy machine slows both; the ratio of a pair is Pillow's time over ours.
cv2 is held to one thread. Without the folder, synthetic pictures of common sizes stand in.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import Preprocessing

DEFAULT_IMAGES = Path(__file__).resolve().parents[2] / "shared" / "data" / "imagenet"
SYNTHETIC_HW = ((375, 500), (500, 333), (150, 150), (900, 1200), (3000, 4000))
SPEC = Preprocessing()
MEAN, STD = np.array(SPEC.mean, np.float32), np.array(SPEC.std, np.float32)


def by_pillow(picture: Image.Image) -> NDArray[np.float32]:
    """What a careful hand-written script does; `picture` is RGB."""
    width, height = picture.size
    size_wh = (256, int(256 * height / width)) if width < height else (int(256 * width / height), 256)
    left, top = (round((side - 224) / 2) for side in size_wh)
    crop = picture.resize(size_wh, Image.Resampling.BILINEAR).crop((left, top, left + 224, top + 224))
    pixels = (np.asarray(crop, np.float32) / np.float32(255) - MEAN) / STD
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def timed(call: Callable[[], Any], rounds: int) -> float:
    """Fastest of some calls in ms."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return min(times)


def compare(contents: list[bytes], rounds: int) -> dict[str, dict[str, float]]:
    """Medians over the images, from decoded arrays and from encoded bytes."""
    make, out = Preprocessor(SPEC), np.empty((3, 224, 224), np.float32)
    rows: dict[str, list[tuple[float, float]]] = {"decoded": [], "encoded": []}
    levels, pixels, furthest = 0, 0, 0.0
    for content in contents:
        frame = read_frame(content).image
        picture = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        distance = np.abs(make(frame, out) - by_pillow(picture)) * (255 * STD[:, None, None])
        levels, pixels, furthest = (
            levels + int((distance > 0.5).sum()),
            pixels + out.size,
            max(furthest, distance.max()),
        )
        rows["decoded"].append(
            (timed(lambda f=frame: make(f, out), rounds), timed(lambda p=picture: by_pillow(p), rounds))  # type: ignore[misc]
        )
        rows["encoded"].append(
            (
                timed(lambda c=content: make(read_frame(c).image, out), rounds),  # type: ignore[misc]
                timed(lambda c=content: by_pillow(Image.open(io.BytesIO(c)).convert("RGB")), rounds),  # type: ignore[misc]
            )
        )
    report = {name: summary(pairs) for name, pairs in rows.items()}
    report["agreement"] = {"values": pixels, "share_differing": levels / pixels, "max_grey_levels": float(furthest)}
    return report


def summary(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Median times and ratios pair by pair."""
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
    """A smooth picture as JPEG."""
    noise = np.random.default_rng(height * width).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))[1])


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=DEFAULT_IMAGES, help="folder of images")
    parser.add_argument("--limit", type=int, default=100, help="images at most")
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
    print(f"{'images':24} {'from':8} {'ours ms':>8} {'Pillow ms':>10} {'ratio':>6} {'min':>6} {'max':>6}")
    for name, result in report.items():
        for source in ("decoded", "encoded"):
            row = result[source]
            figures = f"{row['ours_ms']:8.3f} {row['pillow_ms']:10.3f} {row['ratio_median']:6.2f}"
            print(f"{name:24} {source:8} {figures} {row['ratio_min']:6.2f} {row['ratio_max']:6.2f}")
        agreement = result["agreement"]
        print(
            f"{'':24} differing {agreement['share_differing']:.1e}, at most {agreement['max_grey_levels']:.1f} levels"
        )


if __name__ == "__main__":
    main()
