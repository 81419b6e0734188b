"""What the Predictor costs on top of the bare ONNX Runtime session, interleaved with the session alone.

    python benchmarks/predict.py [--seconds S] [--variants NAME ...] [--json]

The Predictor goes from JPEG bytes to a prediction; the session gets the array that the Predictor would compute, so the
difference is decoding, preprocessing, postprocessing and Python. Goal: at most 15 % for w18 at 224x224, batch 1.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
from comparison import baselines
from comparison.interleave import Call, ratio, time_rounds
from comparison.table import Table, print_result, script_parser

from hrnet_deploy import Predictor, export
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.system.progress import bar

CASES: dict[str, tuple[int | tuple[int, int], tuple[int, int]]] = {
    "hrnet_w18": (224, (375, 500)),
    "hrnet_w18_small_v1": (224, (375, 500)),
    "hrnetv2_w18_small_v1": ((512, 1024), (512, 1024)),
}
"""Input size and image size by variant."""
_STAGES = ("preprocess", "inference", "postprocess")


def measure(variant: str, seconds: float) -> dict[str, Any]:
    """Time both, interleaved, on eight JPEGs; medians in ms, and the overhead by the Predictor's own clock."""
    imgsz, image_hw = CASES[variant]
    with tempfile.TemporaryDirectory() as folder:
        path = export(variant, weights="random", imgsz=imgsz, output=Path(folder, "model.onnx")).path
        predictor, session = Predictor(path, device="cpu"), baselines.plain_session(path)
        jpegs = [cv2.imencode(".jpg", image)[1].tobytes() for image in synthetic_images(8, image_hw)]
        preprocess = Preprocessor(predictor.card.preprocessing)
        feeds = [preprocess(read_frame(jpeg).image)[None] for jpeg in jpegs]
        stages: list[dict[str, float]] = []
        images, bare = itertools.cycle(jpegs), itertools.cycle(feeds)
        calls: dict[str, Call] = {
            "predictor": lambda: stages.append(dict(predictor.predict(next(images)).speed)),
            "session": lambda: session(next(bare)),
        }
        times = time_rounds(calls, seconds=seconds)
    return {
        "variant": variant,
        "imgsz": imgsz,
        "predictor_ms": 1e3 * statistics.median(times["predictor"]),
        "session_ms": 1e3 * statistics.median(times["session"]),
        "overhead": statistics.median(sum(s.values()) / s["inference"] - 1 for s in stages),
        "ratio": ratio(times["predictor"], times["session"]),
        "stages_ms": {name: statistics.median(s[name] for s in stages) for name in _STAGES},
    }


def main() -> int:
    """Measure all cases and print a table, or JSON."""
    parser = script_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="for one model (default: 10)")
    parser.add_argument("--variants", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [measure(variant, args.seconds) for variant in bar(args.variants, desc="models")]
    columns = {"model": "{variant}", "Predictor ms": "{predictor_ms:.2f}", "session ms": "{session_ms:.2f}"}
    columns |= {"ratio": "{ratio:.3f}", "overhead": "{overhead:.1%}"}
    columns[" / ".join(_STAGES) + " ms"] = " / ".join(f"{{stages_ms[{stage}]:.2f}}" for stage in _STAGES)
    title = "Predictor (JPEG bytes to prediction) against the bare ONNX Runtime session, batch 1, CPU"
    print_result(rows, [Table.of(title, columns, rows)], as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
