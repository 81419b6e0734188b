"""Export two trained models in FP32 and FP16, run them on real images, show and save the predictions.

make demo                    classify a horse, segment a view over a lake
make demo IMAGE=street.jpg   run both models on your image
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from hrnet_deploy import HrnetDeployError, Predictor
from hrnet_deploy.artifact.known_classes import CITYSCAPES_CLASSES
from hrnet_deploy.export import export_artifact
from hrnet_deploy.results import ClassificationResult, Result, SegmentationResult

_HERE = Path(__file__).parent
_OUT = _HERE.parent / "demo_output"
_RUNS = 5


def main() -> int:
    """Run the demo; the first argument may name an image."""
    image = sys.argv[1] if len(sys.argv) > 1 else None
    horse = image or files("skimage") / "data" / "horse.png"
    view = image or files("sklearn") / "datasets" / "images" / "china.jpg"
    photos = {
        "weights": _HERE / "hrnet_w18_small_v1_photos10.safetensors",
        "classes": _HERE / "photos10.txt",
        "imgsz": 64,
        "resize": "squash",
    }
    street = {
        "weights": _HERE / "hrnetv2_w18_small_v1_street.pth",
        "classes": CITYSCAPES_CLASSES,
        "align_corners": False,
        "imgsz": "dynamic",
    }
    try:
        saved = [_show("photos10", photos, horse), _show("street", street, view)]
    except HrnetDeployError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_code
    print("\nLook at: " + "\n         ".join(str(path) for path in saved))
    print("Next:    .venv/bin/hrnet-predict demo_output/street_fp32.onnx YOUR_FOLDER --save out")
    return 0


def _show(name: str, options: dict[str, object], image: object) -> Path:
    """Export in both precisions, predict with each, print a row each; return the saved image."""
    saved = _OUT / f"{name}.png"
    for precision in ("fp32", "fp16"):
        path = _OUT / f"{name}_{precision}.onnx"
        exported = export_artifact(precision=precision, output=path, **options)  # type: ignore[arg-type]
        with Predictor(path, device="cpu") as predictor:
            # The first run allocates; the fastest of the others is the time of the model.
            results: list[Result] = [predictor.predict(str(image)) for _ in range(_RUNS)]
        best = min(results[1:], key=lambda result: sum(result.speed.values()))
        if precision == "fp32":
            print(f"\n{exported.card.variant} ({name}, {len(exported.card.classes)} classes) on {best.name}")
            best.save(saved)
        error = exported.card.measured["parity_max_abs"]
        print(
            f"  {precision}: {_prediction(best)}   [{sum(best.speed.values()):.0f} ms on the CPU, "
            f"{exported.size_bytes / 1e6:.1f} MB, max error against PyTorch {error:.1e}]"
        )
    return saved


def _prediction(result: Result) -> str:
    if isinstance(result, ClassificationResult):
        return f"{result.label} {result.score:.1%}"
    if isinstance(result, SegmentationResult):
        return ", ".join(f"{name} {share:.0%}" for name, share in list(result.shares.items())[:4])
    raise TypeError(result)


if __name__ == "__main__":
    sys.exit(main())
