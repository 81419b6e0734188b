"""Export time, peak memory and parity, each export in a process of its own; and which exporter form runs faster.

    python benchmarks/export.py [--all] [--forms] [--json]

Each row is set against a plain script (torch.onnx.export and onnxsim, nothing verified) in the same run.
--all measures parity of every variant in both precisions; --forms times TorchScript's and dynamo's graph of w18.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hrnet_deploy.models.variants import VARIANTS
from hrnet_deploy.spec import Task
from hrnet_deploy.system.progress import bar

CASES = (("hrnet_w18", "224"), ("hrnet_w64", "224"), ("hrnetv2_w48", "512x1024"))

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
variant, imgsz, precision, output = sys.argv[1:]
height, width = (int(s) for s in (imgsz.split("x") * 2)[:2])
chosen = find_variant(variant)
network = build_network(chosen, chosen.default_num_classes)
torch.onnx.export(network, (torch.zeros(2, 3, height, width),), output, dynamo=False, opset_version=20,
                  input_names=["input"], output_names=["logits"], dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}})
simplified, _ = onnxsim.simplify(onnx.load(output))
onnx.save(simplified, output)
print("{}")
"""


def child(script: str, *words: str) -> dict[str, float]:
    """Run a script in a fresh interpreter.

    Args:
        script: prints one JSON object last.
        words: its arguments.

    Returns:
        That object with `seconds` and `peak_gib` (largest resident set) added.
    """
    with tempfile.TemporaryFile() as out:
        began = time.perf_counter()
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", script, *words],
            os.environ | {"TQDM_DISABLE": "1"},
            file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), 1)],
        )
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - began
        out.seek(0)
        if status:
            raise RuntimeError(f"{words} ended with status {status}")
        answer: dict[str, float] = json.loads(out.read().decode().strip().splitlines()[-1])
    return answer | {"seconds": seconds, "peak_gib": usage.ru_maxrss / 2**20}


def costs(folder: str) -> list[dict[str, Any]]:
    """Time and peak memory of the wide nets, against the plain script."""
    rows: list[dict[str, Any]] = []
    for variant, imgsz in bar(CASES, desc="cost"):
        output = str(Path(folder, "net.onnx"))
        ours = child(_OURS, variant, imgsz, "fp32", output)
        plain = child(_PLAIN, variant, imgsz, "fp32", output)
        half = child(_OURS, variant, imgsz, "fp16", output)
        rows.append({"variant": variant, "imgsz": imgsz, "fp32": ours, "fp16": half, "plain": plain})
    return rows


def parity(folder: str) -> list[dict[str, Any]]:
    """Error of every variant in both precisions, in units of the logits' spread."""
    rows: list[dict[str, Any]] = []
    for variant in bar([v for v in VARIANTS.values() if not v.squeeze_excitation], desc="parity"):
        imgsz = "224" if variant.task is Task.CLASSIFICATION else "256x512"
        output = str(Path(folder, "net.onnx"))
        row: dict[str, Any] = {"variant": variant.name}
        for precision in ("fp32", "fp16"):
            row[precision] = child(_OURS, variant.name, imgsz, precision, output)
        rows.append(row)
    return rows


def forms(folder: str) -> dict[str, float]:
    """Batch-1 latency of w18 as either exporter writes it, interleaved, ms."""
    import onnx
    import onnxruntime
    import onnxsim
    import torch

    from hrnet_deploy.models.network import build_network
    from hrnet_deploy.models.variants import find_variant

    network = build_network(find_variant("hrnet_w18"), 1000)
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    sessions = {}
    for name, dynamo in (("torchscript", False), ("dynamo", True)):
        path = str(Path(folder, f"{name}.onnx"))
        more: dict[str, Any] = {"external_data": False, "verbose": False} if dynamo else {}
        torch.onnx.export(network, (torch.from_numpy(image),), path, dynamo=dynamo, opset_version=20, **more)
        onnx.save(onnxsim.simplify(onnx.load(path))[0], path)
        sessions[name] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in bar(range(60), desc="forms"):
        for name, session in sessions.items():
            began = time.perf_counter()
            session.run(None, {session.get_inputs()[0].name: image})
            times[name].append((time.perf_counter() - began) * 1e3)
    result = {name: float(np.median(values[5:])) for name, values in times.items()}
    pairs = np.array(times["dynamo"][5:]) / np.array(times["torchscript"][5:])
    return result | {"dynamo/torchscript": float(np.median(pairs))}


def main() -> int:
    """Run what was asked for and print tables, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="parity of every variant")
    parser.add_argument("--forms", action="store_true", help="time both exporter forms")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record: dict[str, Any] = {"cost": costs(folder)}
        if args.all:
            record["parity"] = parity(folder)
        if args.forms:
            record["forms"] = forms(folder)
    print(json.dumps(record, indent=2) if args.json else _tables(record))
    return 0


def _tables(record: dict[str, Any]) -> str:
    lines = ["Export, each in its own process; the plain script neither verifies nor describes what it writes", ""]
    lines += [
        "| net | precision | time s | peak GiB | plain script s | plain peak GiB | nodes | MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in record["cost"]:
        for precision in ("fp32", "fp16"):
            ours, plain = row[precision], row["plain"]
            lines.append(
                f"| {row['variant']} {row['imgsz']} | {precision} | {ours['seconds']:.1f} | {ours['peak_gib']:.2f} | "
                f"{plain['seconds']:.1f} | {plain['peak_gib']:.2f} | {ours['nodes']} | {ours['mib']:.0f} |"
            )
    if "parity" in record:
        lines += [
            "",
            "| net | fp32 max error / spread | fp16 max error / spread | fp16 answers equal |",
            "|---|---|---|---|",
        ]
        for row in record["parity"]:
            half = row["fp16"]
            lines.append(
                f"| {row['variant']} | {row['fp32']['max_rel']:.1e} | {half['max_rel']:.1e} | {half['agreement']:.2%} |"
            )
    if "forms" in record:
        lines += ["", f"w18 on ONNX Runtime's CPU provider, batch 1, ms: {record['forms']}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
