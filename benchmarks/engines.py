"""What TensorRT-RTX builds from HRNet for GPUs that are not here: precision and kernels, read from its build log.

    python benchmarks/engines.py [--json] [--models NAME ...] [--targets SM ...] [--precisions NAME ...]

Each model is exported once per precision and compiled for each target. Seconds are of this machine's CPU.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparison.table import Table, print_result, script_parser

from hrnet_deploy.artifact.card import card_metadata
from hrnet_deploy.calibration.qdq_placement import float_by_default, place_qdq
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.export import export_artifact
from hrnet_deploy.export.source import read_card
from hrnet_deploy.exporters import onnx_file
from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.exporters.qdq import to_qdq
from hrnet_deploy.qdq_plan import ActivationRange
from hrnet_deploy.quantization_info import QdqTarget, QuantizationInfo, Residual
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.progress import bar

MODELS = {"hrnet_w18_small_v2": "224", "hrnet_w18": "224", "hrnetv2_w18_small_v2": "512x1024"}
TARGETS = ("sm75", "sm86", "sm120")
RESIDUALS = {"int8": Residual.FLOAT, "int8, residual int8": Residual.INT8}
PRECISIONS = ("fp32", "fp16", *RESIDUALS)
_RANGE = ActivationRange(-4.0, 4.0)


def quantize(source: Path, path: Path, residual: Residual) -> None:
    """Write the Q/DQ graph for TensorRT with an FP16 remainder; all ranges are equal, as they change no kernel."""
    graph, card = onnx_file.read(source), read_card(source)
    if card is None:
        raise TypeError(f"{source} must have a card")
    layout = place_qdq(graph, QdqTarget.TENSORRT, float_by_default(graph, QdqTarget.TENSORRT), residual)
    converted = to_fp16(to_qdq(graph, layout, dict.fromkeys(layout.measured, _RANGE)), frozenset()).model
    info = QuantizationInfo(target=QdqTarget.TENSORRT, residual=residual, remainder=Precision.FP16.value)
    onnx_file.write(
        converted, path, card_metadata(dataclasses.replace(card, precision=Precision.INT8, quantization=info))
    )


def build_all(model: str, targets: Sequence[str], precisions: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """Build one engine per precision and target; `refused` in a record says why there is none."""
    found: list[dict[str, Any]] = []
    imgsz = MODELS[model]
    plain = export_artifact(model, weights="random", imgsz=imgsz, output=folder / f"{model}_fp32.onnx").path
    for precision in precisions:
        graph = folder / f"{model}_{len(found)}.onnx"
        if precision in RESIDUALS:
            quantize(plain, graph, RESIDUALS[precision])
        elif precision == "fp16":
            export_artifact(model, weights="random", imgsz=imgsz, precision=precision, output=graph)
        else:
            graph = plain
        for target in targets:
            row = {"model": model, "imgsz": imgsz, "precision": precision, "target": target}
            try:
                found.append(row | _build(graph, target, folder / "model.engine"))
            except HrnetDeployError as error:
                found.append(row | {"refused": str(error)})
    return found


def _build(graph: Path, target: str, path: Path) -> dict[str, Any]:
    built = export_artifact(str(graph), output=path, backend="tensorrt-rtx", target=target, batch="1:8:16").engine
    if built is None:
        raise TypeError("an engine export must describe its build")
    sizes = {"mib": built.facts.plan_bytes / 2**20, "seconds": built.seconds}
    counts = {"requested": built.asked, "achieved": built.reached, "kernels": built.kernels}
    return counts | {"int8_throughout": built.int8_throughout} | sizes | {"version": built.facts.version}


def table(found: list[dict[str, Any]]) -> Table:
    """Tabulate the records."""
    columns = {"model": "{model}", "image": "{imgsz}", "precision": "{precision}", "target": "{target}"}
    columns |= {"convolutions in it": "{achieved} of {requested}", "of them write INT8": "{int8_throughout}"}
    columns |= {"kernels": "{kernels}", "plan MiB": "{mib:.1f}", "build s": "{seconds:.1f}"}
    refused = [row | {"error": f"refused: {row['refused']}"} if "refused" in row else row for row in found]
    return Table.of("", columns, refused)


def main() -> int:
    """Build everything and print one table."""
    arguments = script_parser(__doc__)
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    arguments.add_argument("--targets", nargs="+", default=list(TARGETS))
    arguments.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    args = arguments.parse_args()
    found: list[dict[str, Any]] = []
    for model in bar(args.models, desc="models"):
        with tempfile.TemporaryDirectory() as folder:
            found += build_all(model, args.targets, args.precisions, Path(folder))
    print_result(found, [table(found)], as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
