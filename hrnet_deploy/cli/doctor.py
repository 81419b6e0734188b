"""`hrnet-doctor`: the runtimes and precisions that a machine or a GPU supports, and what to install."""

from __future__ import annotations

import argparse
import dataclasses
import platform
from collections.abc import Sequence
from dataclasses import dataclass

from hrnet_deploy.cli.console import next_command, print_json, print_message, print_result
from hrnet_deploy.cli.launch import launch
from hrnet_deploy.cli.parser import parser
from hrnet_deploy.engines.diagnostics import problems
from hrnet_deploy.engines.environment import EXPORT_PACKAGES, Environment, probe_environment
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.gpu_table import Gpu, Objection, Runtime, find_gpu, objection, pip_lines
from hrnet_deploy.system.text_table import Table, wrapped

_YES, _NO, _BUILD = "yes", "no", "build"
_HEADER = ("runtime", "version", *(precision.value for precision in Precision))
_LABEL_WIDTH = 14


@dataclass(frozen=True)
class Row:
    """One runtime: the installed version or the last one that supports the GPU, and "yes", "no" or "build" (only)."""

    runtime: str
    version: str
    fp32: str
    fp16: str
    int8: str
    reason: str


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    arguments = parser(
        "hrnet-doctor", "Show the runtimes and precisions that this machine or a GPU supports, and what to install."
    )
    arguments.add_argument(
        "--target", default="local", metavar="GPU", help="local (default) or a GPU: v100, t4, 'RTX 3090', sm86 ..."
    )
    return arguments.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Print the supported runtimes of this machine or of the target GPU."""
    return _local(args) if args.target.strip().lower() == "local" else _target(args, find_gpu(args.target))


def main() -> int:
    """Run hrnet-doctor and return the exit code."""
    return launch("hrnet-doctor", parse_args, run)


def _target(args: argparse.Namespace, gpu: Gpu) -> int:
    rows = [_target_row(gpu, runtime) for runtime in Runtime]
    install = pip_lines(gpu)
    if args.json:
        print_json({"gpu": dataclasses.asdict(gpu), "runtimes": [*map(dataclasses.asdict, rows)], "install": install})
    else:
        tensor_cores, bf16 = (_YES if flag else _NO for flag in (gpu.int8_tensor_cores, gpu.bf16))
        print_result(
            f"{gpu.name} · {gpu.sm} · {gpu.architecture} · INT8 tensor cores: {tensor_cores} · BF16: {bf16}", ""
        )
        print_result(*_table(rows))
        on_arm = objection(gpu, Runtime.ONNXRUNTIME_CUDA, Precision.FP32, arm=True)
        if on_arm and not objection(gpu, Runtime.ONNXRUNTIME_CUDA, Precision.FP32):
            print_result("", f"In an ARM host: no ONNX Runtime CUDA, {on_arm.reason}.")
        print_result("", "Install what you need:", *(f"  {line}" for line in install))
        if args.verbose:
            print_result("", f"Source: {gpu.source}")
    next_command(args, *_export_command(engine=True))
    return 0


def _target_row(gpu: Gpu, runtime: Runtime) -> Row:
    last = {Runtime.ONNXRUNTIME_CUDA: gpu.last_onnxruntime(), Runtime.TENSORRT: gpu.tensorrt_max}.get(runtime)
    found = [objection(gpu, runtime, precision) for precision in Precision]
    return _judged(runtime, "-" if all(found) else f"<= {last}" if last else "any", found)


def _local(args: argparse.Namespace) -> int:
    machine = probe_environment()
    found = problems(machine)
    rows = _local_rows(machine)
    install = _missing(machine)
    if args.json:
        print_json(
            {
                "machine": dataclasses.asdict(machine) | {"python": platform.python_version()},
                "runtimes": [*map(dataclasses.asdict, rows)],
                "problems": [dataclasses.asdict(problem) for problem in found],
                "install": install,
            }
        )
    else:
        print_result(*_description(machine), "", *_table(rows))
        for problem in found:
            print_result("", *wrapped(f"Problem: {problem.text}", hanging=""), f"  {problem.command}")
        if install:
            print_result("", "Not installed yet:", *(f"  {line}" for line in install))
    if found:
        print_message(args, f"Next: {found[0].command}")
    elif not machine.onnxruntime:
        print_message(args, f"Next: {install[0]}")
    else:
        builds = any(_YES in dataclasses.astuple(row) for row in rows if row.runtime.startswith("TensorRT"))
        next_command(args, *_export_command(engine=builds))
    return 0


def _export_command(*, engine: bool) -> tuple[str, ...]:
    words = ("hrnet-export", "hrnet_w18", "--weights", "hrnet_w18.mm_in1k")
    return (*words, "--precision", "fp16", "-o", "w18.engine") if engine else (*words, "-o", "w18.onnx")


def _description(machine: Environment) -> list[str]:
    packages, gpu = machine.packages, machine.gpu
    torch = packages.get("torch", "not installed")
    export = [f"{name} {packages[name]}" for name in EXPORT_PACKAGES if name in packages and name != "torch"]
    opencv = [f"{name.removeprefix('opencv-')} {v}" for name, v in packages.items() if name.startswith("opencv")]
    loads = [name for name, reason in machine.providers.items() if not reason]
    # Only the name of the missing library; with a GPU, the problems below show the whole reason.
    fails = [f"{name} ({r.partition(': cannot open')[0]})" for name, r in machine.providers.items() if r]
    build = "GPU build" if "onnxruntime-gpu" in packages else "CPU build"
    lines = {
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "NumPy": f"{packages.get('numpy', 'not installed')}; OpenCV {', '.join(opencv) or 'not from a wheel'}",
        "PyTorch": torch + (" (CUDA where the platform has it)" if "torch" in packages and "+" not in torch else ""),
        "export": ", ".join(export) or "nothing installed",
        "ONNX Runtime": f"{machine.onnxruntime} ({build}), loads: {', '.join(loads) or 'nothing'}"
        + (f"; does not load: {', '.join(fails)}" if fails else "")
        if machine.onnxruntime
        else "not installed",
        "OpenVINO": _engine_line(
            packages.get("openvino", "") if machine.half else "", machine.abilities.get("openvino", "")
        ),
        "TensorRT": _engine_line(machine.tensorrt, machine.abilities.get("tensorrt", "")),
        "TensorRT-RTX": _engine_line(machine.tensorrt_rtx, machine.abilities.get("tensorrt-rtx", "")),
        "GPU": f"{gpu.name} ({gpu.capability}, driver {gpu.driver or 'unknown'})"
        + (f", the first of {gpu.count}" if gpu.count > 1 else "")
        if gpu.name
        else f"none ({gpu.note})",
        "CPU": {
            True: "has VNNI: INT8 is fast and does not saturate",
            False: "no VNNI: INT8 may saturate and is slower; judge it with --eval-data",
            None: "VNNI unknown",
        }[machine.vnni],
    }
    return [line for label, text in lines.items() for line in wrapped(text, label.ljust(_LABEL_WIDTH))]


def _engine_line(version: str, abilities: str) -> str:
    if version:
        return f"{version}: {abilities}"
    return f"does not load: {abilities}" if abilities else "not installed"


def _local_rows(machine: Environment) -> list[Row]:
    cpu_fails = machine.providers.get("CPU", "not installed")
    versions = {
        Runtime.TENSORRT: machine.tensorrt,
        Runtime.TENSORRT_RTX: machine.tensorrt_rtx,
        Runtime.ONNXRUNTIME_CUDA: machine.packages.get("onnxruntime-gpu", ""),
        Runtime.ONNXRUNTIME_RTX: machine.packages.get("onnxruntime-ep-nv-tensorrt-rtx", ""),
    }
    return [
        _row("ONNX Runtime CPU", machine.onnxruntime or "-", _NO if cpu_fails else _YES, cpu_fails),
        _openvino_row(machine),
        *(_local_row(machine, runtime, version) for runtime, version in versions.items()),
    ]


def _openvino_row(machine: Environment) -> Row:
    version = machine.packages.get("openvino", "")
    if not machine.half:
        return _row("OpenVINO CPU", "-", _NO, "does not load" if version else "not installed")
    note = f"fp16 runs in {machine.half}" + ("; this CPU has no half type" if machine.half == "float32" else "")
    return _row("OpenVINO CPU", version, _YES, note)


def _local_row(machine: Environment, runtime: Runtime, version: str) -> Row:
    fails = machine.providers.get("CUDA", "") if runtime is Runtime.ONNXRUNTIME_CUDA else ""
    if not version:
        reason = "does not load" if machine.abilities.get(runtime.value) else "not installed"
        return _row(runtime.label, "-", _NO, reason)
    if not machine.gpu.name:
        builds = runtime is Runtime.TENSORRT_RTX
        reason = "no GPU here; builds for other cards with --target" if builds else "no GPU here"
        return _row(runtime.label, version, _BUILD if builds else _NO, reason)
    if fails:
        return _row(runtime.label, version, _NO, "does not load, see the problem below")
    try:
        gpu = find_gpu(machine.gpu.capability)
    except HrnetDeployError:
        return _row(runtime.label, version, _YES, f"nothing known about {machine.gpu.capability}: try it")
    return _judged(runtime, version, [objection(gpu, runtime, p, version, arm=machine.arm) for p in Precision])


def _row(runtime: str, version: str, cell: str, reason: str) -> Row:
    return Row(runtime, version, cell, cell, cell, reason)


def _judged(runtime: Runtime, version: str, found: Sequence[Objection | None]) -> Row:
    """Return the row of one objection per precision; equal ones are named once."""
    texts = [f"{o.reason}; {o.way}" if o else "" for o in found]
    each = (f"{precision.value}: {text}" for precision, text in zip(Precision, texts, strict=True) if text)
    reason = texts[0] if len(set(texts)) == 1 else " · ".join(each)
    fp32, fp16, int8 = (_NO if o else _YES for o in found)
    return Row(runtime.label, version, fp32, fp16, int8, reason)


def _missing(machine: Environment) -> list[str]:
    """Return the pip commands of packages that are missing and would run here."""
    packages = machine.packages
    installed = {
        "[openvino": machine.half,
        "[onnxruntime-rtx": packages.get("onnxruntime-ep-nv-tensorrt-rtx", ""),
        "onnxruntime": machine.onnxruntime,
        "[tensorrt-rtx": machine.tensorrt_rtx,
        "tensorrt": machine.tensorrt,
    }
    try:
        known = pip_lines(find_gpu(machine.gpu.capability), arm=machine.arm)
        if any("onnxruntime-gpu" in line for line in known):
            installed["onnxruntime"] = packages.get("onnxruntime-gpu", "")
    except HrnetDeployError:
        known = ("pip install 'hrnet-deploy[cpu]'", "pip install 'hrnet-deploy[openvino]'")
    lines = []
    for line in known:
        part = next((part for part in installed if part in line), "onnxruntime")
        if not installed[part]:
            # The two builds share a folder, so the CPU build is removed first.
            lines += ["pip uninstall -y onnxruntime"] if "onnxruntime-gpu" in line and machine.onnxruntime else []
            lines.append(line)
    if any(name not in packages for name in EXPORT_PACKAGES) and not any("[export" in line for line in lines):
        lines.append("pip install 'hrnet-deploy[export]'")
    return lines


def _table(rows: Sequence[Row]) -> list[str]:
    left = Table(_HEADER, [dataclasses.astuple(row)[:-1] for row in rows], _HEADER).text()
    width = max(map(len, left)) + 2
    reasons = ["notes", *(row.reason for row in rows)]
    return [line for cells, reason in zip(left, reasons, strict=True) for line in wrapped(reason, cells.ljust(width))]
