"""Export time, peak memory and parity, each export in a process of its own.

    python benchmarks/export.py [--variants NAME ...] [--all] [--json]

Each row is compared with a plain script (torch.onnx.export and onnxsim, nothing verified) in the same run.
--all measures parity of every variant in both precisions.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from comparison.interleave import run_script
from comparison.table import Table, print_result, script_parser

from hrnet_deploy.models.variants import VARIANTS
from hrnet_deploy.spec import Task
from hrnet_deploy.system.progress import bar

CASES = {"hrnet_w18": "224", "hrnet_w64": "224", "hrnetv2_w48": "512x1024"}

_OURS = """
import json, sys
from hrnet_deploy.export import export_artifact
variant, imgsz, precision, output = sys.argv[1:]
done = export_artifact(variant, weights="random", imgsz=imgsz, precision=precision, output=output)
print(json.dumps({"max_rel": done.difference.max_rel, "agreement": done.difference.agreement, "nodes": done.nodes,
                  "mib": done.size_bytes / 2**20, "kept_fp32": len(done.kept_fp32)}))
"""
_PLAIN = """
import sys, warnings
warnings.simplefilter("ignore")
import onnx, onnxsim, torch
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant
variant, imgsz, output = sys.argv[1:]
height, width = (int(s) for s in (imgsz.split("x") * 2)[:2])
chosen = find_variant(variant)
network = build_network(chosen, chosen.default_num_classes)
torch.onnx.export(network, (torch.zeros(2, 3, height, width),), output, dynamo=False, opset_version=20,
                  input_names=["input"], output_names=["logits"], dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}})
simplified, _ = onnxsim.simplify(onnx.load(output))
onnx.save(simplified, output)
"""


def costs(variants: list[str], folder: str) -> list[dict[str, Any]]:
    """Measure time and peak memory of the wide models, and those of the plain script."""
    rows: list[dict[str, Any]] = []
    for variant in bar(variants, desc="cost"):
        words, output = (variant, CASES[variant]), str(Path(folder, "model.onnx"))
        ours = run_script(_OURS, *words, "fp32", output).row()
        plain = run_script(_PLAIN, *words, output).row()
        half = run_script(_OURS, *words, "fp16", output).row()
        rows.append({"variant": variant, "imgsz": CASES[variant], "fp32": ours, "fp16": half, "plain": plain})
    return rows


def parity(folder: str) -> list[dict[str, Any]]:
    """Measure the error of every variant in both precisions, in units of the logits' spread."""
    rows: list[dict[str, Any]] = []
    for variant in bar([v for v in VARIANTS.values() if not v.squeeze_excitation], desc="parity"):
        words = (variant.name, "224" if variant.task is Task.CLASSIFICATION else "256x512")
        output = str(Path(folder, "model.onnx"))
        found = {kind: run_script(_OURS, *words, kind, output).row() for kind in ("fp32", "fp16")}
        rows.append({"variant": variant.name} | found)
    return rows


def main() -> int:
    """Measure what was requested and print tables, or JSON."""
    parser = script_parser(__doc__)
    parser.add_argument("--variants", nargs="+", choices=list(CASES), default=list(CASES), help="of time and memory")
    parser.add_argument("--all", action="store_true", help="parity of every variant")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record: dict[str, Any] = {"cost": costs(args.variants, folder)}
        if args.all:
            record["parity"] = parity(folder)
    print_result(record, _tables(record), as_json=args.json)
    return 0


def _tables(record: dict[str, Any]) -> list[Table]:
    columns = {"model": "{variant} {imgsz}", "precision": "{precision}", "time s": "{ours[seconds]:.1f}"}
    columns |= {"peak GiB": "{ours[peak_gib]:.2f}", "plain script s": "{plain[seconds]:.1f}"}
    columns |= {"plain peak GiB": "{plain[peak_gib]:.2f}", "nodes": "{ours[nodes]}", "MiB": "{ours[mib]:.0f}"}
    title = "Export, each in its own process; the plain script neither verifies nor describes its file"
    rows = [row | {"precision": kind, "ours": row[kind]} for row in record["cost"] for kind in ("fp32", "fp16")]
    tables = [Table.of(title, columns, rows)]
    if "parity" in record:
        columns = {"model": "{variant}", "fp32 max error / spread": "{fp32[max_rel]:.1e}"}
        columns |= {"fp16 max error / spread": "{fp16[max_rel]:.1e}", "fp16 equal outputs": "{fp16[agreement]:.2%}"}
        tables.append(Table.of("Parity", columns, record["parity"]))
    return tables


if __name__ == "__main__":
    sys.exit(main())
