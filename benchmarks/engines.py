"""What TensorRT-RTX makes of HRNet for GPUs that are not here: precision and kernels, read from its build log.

    python benchmarks/engines.py [--json] [--nets NAME ...] [--targets SM ...] [--precisions NAME ...]

Each net is exported once per precision and compiled for each target. Seconds are of this machine's CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from hrnet_deploy.artifact.card import card_metadata
from hrnet_deploy.calibration.qdq_placement import float_by_default, place_qdq
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.export import export_artifact
from hrnet_deploy.export.source import read_card
from hrnet_deploy.exporters import onnx_file
from hrnet_deploy.exporters.fp16 import to_fp16
from hrnet_deploy.exporters.qdq import to_qdq
from hrnet_deploy.qdq_plan import ActivationRange, QdqTarget, Residual
from hrnet_deploy.quantization_info import QuantizationInfo
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.progress import bar

NETS = {"hrnet_w18_small_v2": "224", "hrnet_w18": "224", "hrnetv2_w18_small_v2": "512x1024"}
TARGETS = ("sm75", "sm86", "sm120")
RESIDUALS = {"int8": Residual.FLOAT, "int8, residual int8": Residual.INT8}
PRECISIONS = ("fp32", "fp16", *RESIDUALS)
_RANGE = ActivationRange(-4.0, 4.0)


def quantise(source: Path, path: Path, residual: Residual) -> None:
    """Write the Q/DQ graph for TensorRT with an FP16 remainder; all ranges are one, as they change no kernel.

    Args:
        source: a float32 graph with its card.
        path: the file to write.
        residual: what sums read.
    """
    graph, card = onnx_file.read(source), read_card(source)
    if card is None:
        raise TypeError(f"{source} must have a card")
    layout = place_qdq(graph, QdqTarget.TENSORRT, float_by_default(graph, QdqTarget.TENSORRT), residual)
    made = to_fp16(to_qdq(graph, layout, dict.fromkeys(layout.measured, _RANGE)), frozenset()).model
    info = QuantizationInfo(target=QdqTarget.TENSORRT, residual=residual, remainder=Precision.FP16.value)
    onnx_file.write(made, path, card_metadata(dataclasses.replace(card, precision=Precision.INT8, quantization=info)))


def rows(
    net: str, imgsz: str, targets: tuple[str, ...], folder: Path, precisions: tuple[str, ...] = PRECISIONS
) -> list[dict[str, Any]]:
    """Compile one net in every precision for every target.

    Args:
        net: variant; its weights are seeded noise.
        imgsz: as for hrnet-export.
        targets: compute capabilities.
        folder: for files.
        precisions: of `PRECISIONS`.

    Returns:
        One record an engine; `refused` says why there is none.
    """
    found: list[dict[str, Any]] = []
    plain = export_artifact(net, weights="random", imgsz=imgsz, output=folder / f"{net}_fp32.onnx").path
    for precision in precisions:
        graph = folder / f"{net}_{len(found)}.onnx"
        if precision in RESIDUALS:
            quantise(plain, graph, RESIDUALS[precision])
        elif precision == "fp16":
            export_artifact(net, weights="random", imgsz=imgsz, precision=precision, output=graph)
        else:
            graph = plain
        for target in targets:
            row: dict[str, Any] = {"net": net, "imgsz": imgsz, "precision": precision, "target": target}
            try:
                done = export_artifact(
                    str(graph), output=folder / "net.engine", backend="tensorrt-rtx", target=target, batch="1:8:16"
                )
            except HrnetDeployError as error:
                found.append(row | {"refused": str(error)})
                continue
            built = done.engine
            if built is None:
                raise TypeError("an engine export must say what was built")
            sizes = {"mib": built.facts.plan_bytes / 2**20, "seconds": built.seconds}
            counts = {"asked": built.asked, "reached": built.reached, "kernels": built.kernels}
            counts |= {"int8_throughout": built.int8_throughout}
            found.append(row | counts | sizes | {"version": built.facts.version})
    return found


def table(found: list[dict[str, Any]]) -> list[str]:
    """The records as Markdown.

    Args:
        found: from `rows`.

    Returns:
        Lines.
    """
    lines = [
        "| net | image | precision | target | convolutions in it | of them write INT8 | kernels | plan MiB | build s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        head = f"| {row['net']} | {row['imgsz']} | {row['precision']} | {row['target']} |"
        if "refused" in row:
            lines.append(f"{head} refused: {row['refused']} | - | - | - | - |")
        else:
            lines.append(
                f"{head} {row['reached']} of {row['asked']} | {row['int8_throughout']} | {row['kernels']} | "
                f"{row['mib']:.1f} | {row['seconds']:.1f} |"
            )
    return lines


def main() -> int:
    """Build everything and print one table.

    Returns:
        0.
    """
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    arguments.add_argument("--targets", nargs="+", default=list(TARGETS))
    arguments.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    args = arguments.parse_args()
    found: list[dict[str, Any]] = []
    for net in bar(args.nets, desc="nets"):
        with tempfile.TemporaryDirectory() as folder:
            found += rows(net, NETS[net], tuple(args.targets), Path(folder), tuple(args.precisions))
    print(json.dumps(found, indent=2) if args.json else "\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
