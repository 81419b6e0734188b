"""Preprocessing against Pillow and NumPy, pair by pair: resize 256, crop 224, normalize, float32 CHW.

    python benchmarks/preprocess.py [--images DIR] [--limit N] [--rounds N] [--json]

Both sides are timed on every image, so a busy machine slows both; the ratio of a pair is Pillow's time over ours.
cv2 is limited to one thread. Synthetic images of common sizes are measured as well.
"""

from __future__ import annotations

import io
import statistics
import timeit
from pathlib import Path

import cv2
import numpy as np
from comparison.config import SHARED
from comparison.table import Table, print_result, script_parser
from numpy.typing import NDArray
from PIL import Image

from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import Preprocessing

SYNTHETIC_HW = ((375, 500), (500, 333), (150, 150), (900, 1200), (3000, 4000))
SPEC = Preprocessing()
_CALLS = {
    "decoded": ("ours(frame, out)", "pillow(image)"),
    "encoded": ("ours(read(content).image, out)", "pillow(open(BytesIO(content)).convert('RGB'))"),
}
"""Statements of ours and of Pillow; the fastest call counts."""
MEAN, STD = np.array(SPEC.mean, np.float32), np.array(SPEC.std, np.float32)


def by_pillow(image: Image.Image) -> NDArray[np.float32]:
    """Preprocess an RGB image as a careful hand-written script does."""
    width, height = image.size
    size_wh = (256, int(256 * height / width)) if width < height else (int(256 * width / height), 256)
    left, top = (round((side - 224) / 2) for side in size_wh)
    crop = image.resize(size_wh, Image.Resampling.BILINEAR).crop((left, top, left + 224, top + 224))
    pixels = (np.asarray(crop, np.float32) / np.float32(255) - MEAN) / STD
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def compare(contents: list[bytes], rounds: int) -> dict[str, dict[str, float]]:
    """Measure medians over the images, from decoded arrays and from encoded bytes."""
    preprocess, out = Preprocessor(SPEC), np.empty((3, 224, 224), np.float32)
    pairs: dict[str, list[tuple[float, float]]] = {"decoded": [], "encoded": []}
    distances = []
    for content in contents:
        frame = read_frame(content).image
        image = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        distances.append(np.abs(preprocess(frame, out) - by_pillow(image)) * (255 * STD[:, None, None]))
        scope = {"ours": preprocess, "frame": frame, "out": out, "pillow": by_pillow, "image": image}
        scope |= {"read": read_frame, "content": content, "open": Image.open, "BytesIO": io.BytesIO}
        for name, calls in _CALLS.items():
            ours, theirs = (1e3 * min(timeit.repeat(call, globals=scope, number=1, repeat=rounds)) for call in calls)
            pairs[name].append((ours, theirs))
    levels = np.stack(distances)
    shares = {"share_differing": float(np.mean(levels > 0.5)), "max_gray_levels": float(levels.max())}
    return {name: summary(taken) for name, taken in pairs.items()} | {"agreement": {"values": levels.size} | shares}


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
    parser = script_parser(__doc__)
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
    columns = {"images": "{images_of}", "from": "{source}", "ours ms": "{ours_ms:.3f}", "Pillow ms": "{pillow_ms:.3f}"}
    columns |= {"ratio": "{ratio_median:.2f}", "min": "{ratio_min:.2f}", "max": "{ratio_max:.2f}"}
    rows = [{"images_of": name, "source": source} | report[name][source] for name in report for source in _CALLS]
    table = Table.of("Preprocessing", columns, rows)
    text = "{}: differing {share_differing:.1e}, max. {max_gray_levels:.1f} levels"
    table.notes += [text.format(name, **result["agreement"]) for name, result in report.items()]
    print_result(report, [table], as_json=args.json)


if __name__ == "__main__":
    main()
