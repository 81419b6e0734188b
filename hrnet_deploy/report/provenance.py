"""Sources of the figures of a report, as (name, text) in reading order; empty texts are omitted."""

from __future__ import annotations

from hrnet_deploy.processing.preprocess import described
from hrnet_deploy.report.formatting import megabytes
from hrnet_deploy.report.report import Report, Row

_DIGITS = 16
_TOOLS = ("onnx", "onnxsim", "hrnet-deploy")


def run_info(report: Report) -> list[tuple[str, str]]:
    """Describe the run: command, images, statistics, machine."""
    comparison, machine = report.comparison, report.machine
    data, run, cpu = report.data, comparison.reference.run, machine.processor
    share = f"{data.images} of {data.total}" if data.images != data.total else f"all {data.total}"
    windows = ""
    if run.sliding is not None:
        height, width = run.sliding.window_hw
        down, right = run.sliding.stride_hw
        windows = f"{height}x{width} (height x width), stride {down}x{right}"
    return _without_empty(
        {
            "command": report.command,
            "created": report.created.replace("T", " ").replace("+00:00", " UTC"),
            "images": f"{share} in {data.root} ({data.layout})",
            "digest of the images": f"sha256 {data.digest}",
            "evaluation": f"batch {run.batch}, {run.workers} workers; {run.computed} images in this run, "
            f"{run.resumed} from an interrupted one",
            "sliding windows": windows,
            "intervals": f"95% paired percentile bootstrap over images, {comparison.resamples} resamples, "
            f"seed {comparison.seed}",
            "times": "one image through the graph, copies included, reading and preprocessing excluded; "
            f"{report.reference.latency.samples} runs each after warm-up, the artifacts in turn, every other round "
            "in reverse order",
            "CPU": f"{cpu.model}, {cpu.cores} cores" + (f", {cpu.governor}" if cpu.governor else ""),
            "load": "" if cpu.load is None else f"{cpu.load} processes, mean of the minute before the run",
            "GPU": report.gpus,
            "system": f"{machine.system}, Python {machine.python}",
            "packages": ", ".join(f"{name} {version}" for name, version in machine.packages.items()),
        }
    )


def model_info(row: Row) -> list[tuple[str, str]]:
    """Describe one artifact: file, model, runtime, preprocessing, calibration."""
    model, card = row.model, row.model.card
    lineage, info = card.lineage, card.quantization
    source = lineage.get("weights") or lineage.get("graph") or ""
    digest = lineage.get("weights_sha256") or lineage.get("graph_sha256") or ""
    calibration = ""
    if info is not None and info.method:
        calibration = f"{info.method} on {info.images} images (list {info.images_sha256[:_DIGITS]})"
    return _without_empty(
        {
            "file": f"{row.label}, {megabytes(model.size_bytes)} MB" if model.size_bytes else model.name,
            "sha256": model.sha256,
            "model": f"{card.variant}, {card.precision.value}, {len(card.classes)} classes, opset {card.opset}",
            "output": "" if card.threshold is None else f"one channel, sigmoid above {card.threshold:g}",
            "runtime": f"{row.runtime_status.runtime}, {row.runtime_status.status}",
            "preprocessing": described(card.preprocessing),
            "source": f"{source} (sha256 {digest[:_DIGITS]})" if digest else source,
            "calibration": calibration,
            "Q/DQ layout": "" if info is None else info.target.value,
            "kept in float": "" if info is None else ",".join(info.kept_in_float),
            "exported with": ", ".join(f"{name} {lineage[name]}" for name in _TOOLS if name in lineage),
        }
    )


def _without_empty(info: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, text) for name, text in info.items() if text]
