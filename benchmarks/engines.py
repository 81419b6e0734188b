"""What TensorRT-RTX makes of HRNet for GPUs that are not here: precision and kernels, read from its build log.

    python benchmarks/engines.py [--json] [--nets NAME ...] [--targets SM ...] [--precisions NAME ...]

Each net is exported once per precision and compiled for each target. Seconds are of this machine's CPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2

from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.pipeline import export_artifact
from hrnet_deploy.probe import probe_images
from hrnet_deploy.progress import bar

NETS = {"hrnet_w18_small_v2": "224", "hrnet_w18": "224", "hrnetv2_w18_small_v2": "512x1024"}
TARGETS = ("sm75", "sm86", "sm120")
PRECISIONS: dict[str, dict[str, str]] = {
    "fp32": {"precision": "fp32"},
    "fp16": {"precision": "fp16"},
    "int8": {"precision": "int8", "residual": "float"},
    "int8, residual int8": {"precision": "int8", "residual": "int8"},
}
"""Options by name in the table."""
_CALIBRATION_IMAGES = 16
_SIZE = {"224": (256, 320), "512x1024": (512, 1024)}


def rows(
    net: str, imgsz: str, targets: tuple[str, ...], folder: Path, precisions: tuple[str, ...] = tuple(PRECISIONS)
) -> list[dict[str, Any]]:
    """Compile one net in every precision for every target.

    Args:
        net: variant; its weights are seeded noise.
        imgsz: as for hrnet-export.
        targets: compute capabilities.
        folder: for files.
        precisions: keys of `PRECISIONS`.

    Returns:
        One record an engine; `refused` says why there is none.
    """
    pictures = folder / f"pictures_{net}"
    pictures.mkdir()
    for index, picture in enumerate(probe_images(_CALIBRATION_IMAGES, _SIZE.get(imgsz, (128, 128)))):
        cv2.imwrite(str(pictures / f"{index}.png"), picture)
    found: list[dict[str, Any]] = []
    for precision in precisions:
        graph = folder / f"{net}_{len(found)}.onnx"
        options: dict[str, Any] = dict(PRECISIONS[precision])
        if options["precision"] == "int8":
            table = folder / f"{net}.calib.json"
            options |= {"calib_data": pictures, "calib_cache": table, "qdq_target": "tensorrt", "remainder": "fp16"}
        export_artifact(net, weights="random", imgsz=imgsz, output=graph, **options)
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
    arguments.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    args = arguments.parse_args()
    found: list[dict[str, Any]] = []
    for net in bar(args.nets, desc="nets"):
        with tempfile.TemporaryDirectory() as folder:
            found += rows(net, NETS[net], tuple(args.targets), Path(folder), tuple(args.precisions))
    print(json.dumps(found, indent=2) if args.json else "\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
