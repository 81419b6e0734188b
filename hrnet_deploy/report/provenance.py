"""Where every figure of a report comes from."""

from __future__ import annotations

from hrnet_deploy.processing.preprocess import described
from hrnet_deploy.report.content import Report, Row
from hrnet_deploy.report.numbers import megabytes

_DIGITS = 16
_TOOLS = ("onnx", "onnxsim", "hrnet-deploy")


def run_facts(report: Report) -> list[tuple[str, str]]:
    """What the run as a whole rests on.

    Args:
        report: the report.

    Returns:
        (what, text) in reading order; empty texts are left out.
    """
    first = report.comparison.reference
    data, run, machine = first.data, first.run, report.machine
    share = f"{data.images} of {data.total}" if data.images != data.total else f"all {data.total}"
    windows = ""
    if run.sliding is not None:
        height, width = run.sliding.window_hw
        down, right = run.sliding.stride_hw
        windows = f"{height}x{width} (height x width), stride {down}x{right}"
    cpu, runs = machine.processor, report.reference.latency.samples
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    intervals = f"95% paired percentile bootstrap over images, {report.comparison.resamples} resamples"
    times = "one image through the graph, copies included, reading and preprocessing not"
    facts = [
        ("command", report.command),
        ("made", report.created.replace("T", " ").replace("+00:00", " UTC")),
        ("images", f"{share} in {data.root} ({data.layout})"),
        ("digest of the images", f"sha256 {data.digest}"),
        (
            "evaluation",
            f"batch {run.batch}, {run.workers} workers; {run.computed} images answered, {run.resumed} resumed",
        ),
        ("sliding windows", windows),
        ("intervals", f"{intervals}, seed {report.comparison.seed}"),
        (
            "times",
            f"{times}; {runs} runs each after warm-up, the artefacts in turn, every other round backwards",
        ),
        ("CPU", f"{cpu.model}, {cpu.cores} cores" + (f", {cpu.governor}" if cpu.governor else "")),
        ("load", "" if cpu.load is None else f"{cpu.load} processes over the last minute before the start"),
        ("GPU", report.gpus),
        ("system", f"{machine.system}, Python {machine.python}"),
        ("packages", packages),
    ]
    return [(name, text) for name, text in facts if text]


def model_facts(row: Row) -> list[tuple[str, str]]:
    """What one artefact is.

    Args:
        row: of the report.

    Returns:
        (what, text) in reading order; empty texts are left out.
    """
    model, card = row.model, row.model.card
    lineage, info = card.lineage, card.quantization
    origin = lineage.get("weights") or lineage.get("graph") or ""
    digest = lineage.get("weights_sha256") or lineage.get("graph_sha256") or ""
    calibration = ""
    if info is not None and info.method:
        calibration = f"{info.method} on {info.images} images (list {info.images_sha256[:_DIGITS]})"
    tools = ", ".join(f"{name} {lineage[name]}" for name in _TOOLS if name in lineage)
    facts = [
        ("file", f"{row.label}, {megabytes(model.size_bytes)} MB"),
        ("sha256", model.sha256),
        ("net", f"{card.variant}, {card.precision.value}, {len(card.classes)} classes, opset {card.opset}"),
        ("answer", "" if card.threshold is None else f"one channel, sigmoid above {card.threshold:g}"),
        ("ran on", f"{row.standing.runtime}, {row.standing.status}"),
        ("preprocessing", described(card.preprocessing)),
        ("made from", f"{origin} (sha256 {digest[:_DIGITS]})" if digest else origin),
        ("calibration", calibration),
        ("INT8 laid out for", "" if info is None else info.target.value),
        ("kept in floating point", "" if info is None else ",".join(info.kept_in_float)),
        ("made with", tools),
    ]
    return [(name, text) for name, text in facts if text]
