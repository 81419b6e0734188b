"""What the Predictor costs on top of the bare ONNX Runtime session, interleaved with the session alone.

    python benchmarks/predict.py [--rounds N] [--json]

The Predictor goes from JPEG bytes to an answer; the session gets the very array the Predictor would make, so that the
difference is decoding, preprocessing, postprocessing and Python. Target: at most 15 % for w18 at 224x224, batch 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from hrnet_deploy import Predictor, export
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.processing.preprocess import Preprocessor
from hrnet_deploy.system.progress import bar

CASES: tuple[tuple[str, int | tuple[int, int], tuple[int, int]], ...] = (
    # variant, image size, picture size
    ("hrnet_w18", 224, (375, 500)),
    ("hrnet_w18_small_v1", 224, (375, 500)),
    ("hrnetv2_w18_small_v1", (512, 1024), (512, 1024)),
)
_WARM_UP = 5


def measure(variant: str, imgsz: int | tuple[int, int], picture_hw: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Time both in turn on several pictures.

    Args:
        variant: with random weights, which cost the same as trained ones.
        imgsz: network input.
        picture_hw: of the JPEGs.
        rounds: pairs of runs.

    Returns:
        Medians in ms, the median of the pairwise overhead, and what the Predictor reports of its stages.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = export(variant, weights="random", imgsz=imgsz, output=Path(folder, "net.onnx")).path
        predictor = Predictor(path, device="cpu")
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        jpegs = [cv2.imencode(".jpg", image)[1].tobytes() for image in synthetic_images(8, picture_hw)]
        preprocess = Preprocessor(predictor.card.preprocessing)
        feeds = [preprocess(read_frame(jpeg).image)[None] for jpeg in jpegs]
        ours: list[float] = []
        bare: list[float] = []
        stages: list[dict[str, float]] = []
        for index in bar(range(rounds + _WARM_UP), desc=variant):
            began = time.perf_counter()
            result = predictor.predict(jpegs[index % len(jpegs)])
            middle = time.perf_counter()
            session.run(None, {"input": feeds[index % len(feeds)]})
            ended = time.perf_counter()
            if index >= _WARM_UP:
                ours.append((middle - began) * 1e3)
                bare.append((ended - middle) * 1e3)
                stages.append(dict(result.speed))
    return {
        "variant": variant,
        "imgsz": imgsz,
        "predictor_ms": float(np.median(ours)),
        "session_ms": float(np.median(bare)),
        # Everything but the session, as the Predictor times itself, over the session's time in the same call.
        "overhead": float(np.median([sum(s.values()) / s["inference"] - 1 for s in stages])),
        "ratio": float(np.median(np.array(ours) / np.array(bare))),
        "stages_ms": {name: float(np.median([s[name] for s in stages])) for name in stages[0]},
    }


def main() -> int:
    """Run all cases and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [measure(*case, rounds=args.rounds) for case in CASES]
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    print("Predictor (JPEG bytes to answer) against the bare ONNX Runtime session, batch 1, CPU, medians")
    head = f"{'net':<24}{'Predictor':>12}{'session':>12}{'ratio':>8}{'overhead':>10}"
    print(f"{head}   preprocess / inference / postprocess ms")
    for row in rows:
        stages = row["stages_ms"]
        parts = " / ".join(f"{stages[name]:.2f}" for name in ("preprocess", "inference", "postprocess"))
        print(
            f"{row['variant']:<24}{row['predictor_ms']:>9.2f} ms{row['session_ms']:>9.2f} ms{row['ratio']:>8.3f}"
            f"{row['overhead']:>9.1%}   {parts}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
