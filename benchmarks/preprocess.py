"""Preprocessing against Pillow and NumPy, pair by pair: resize 256, crop 224, normalize, float32 CHW.

    python benchmarks/preprocess.py [--images DIR] [--limit N] [--rounds N] [--json]

Both sides are timed on every image, so a busy machine slows both; the ratio of a pair is Pillow's time over ours.
cv2 is limited to one thread. Synthetic images of common sizes are measured as well.
"""

from __future__ import annotations

import functools
import io
import statistics
import timeit
from pathlib import Path

import cv2
import numpy as np
from comparison import baselines
from comparison.config import SHARED
from comparison.table import Table, print_result, script_parser
from PIL import Image

from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.spec import Preprocessing

SYNTHETIC_HW = ((375, 500), (500, 333), (150, 150), (900, 1200), (3000, 4000))
_CALLS = {
    "decoded": ("ours(frame, out)", "pillow(image)"),
    "encoded": ("ours(read(content).image, out)", "pillow(open(BytesIO(content)).convert('RGB'))"),
}
"""Statements of ours and of Pillow; the fastest call counts."""
_SIZE_HW = (224, 224)


def compare(contents: list[bytes], rounds: int) -> dict[str, dict[str, float]]:
    """Measure medians over the images, from decoded arrays and from encoded bytes."""
    preprocess, out = Preprocessor(Preprocessing()), np.empty((3, *_SIZE_HW), np.float32)
    pairs: dict[str, list[tuple[float, float]]] = {"decoded": [], "encoded": []}
    distances = []
    for content in contents:
        frame = read_frame(content).image
        image = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        pillow = functools.partial(baselines.by_pillow_and_numpy, size_hw=_SIZE_HW)
        distances.append(np.abs(preprocess(frame, out) - pillow(image)) * (255 * baselines.STD[:, None, None]))
        scope = {"ours": preprocess, "frame": frame, "out": out, "pillow": pillow, "image": image}
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
    sets |= {
        f"synthetic {h}x{w}": [cv2.imencode(".jpg", synthetic_images(1, (h, w))[0])[1].tobytes()]
        for h, w in SYNTHETIC_HW
    }
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
