"""The result of an export, as hrnet-export prints it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from hrnet_deploy.models.zoo import named_entry
from hrnet_deploy.spec import ModelCard, OutputKind, Precision

if TYPE_CHECKING:
    from hrnet_deploy.export import ExportResult
    from hrnet_deploy.export.engine.build import BuiltEngine
    from hrnet_deploy.quantization_info import QuantizationInfo
    from hrnet_deploy.triton import TritonModel


def result_record(done: ExportResult, seconds: float) -> dict[str, object]:
    """Return a result as values that JSON can hold."""
    card, record = done.card, done.card.to_record()
    return {
        "path": str(done.path),
        "variant": card.variant,
        "task": card.task.value,
        "precision": card.precision.value,
        "opset": card.opset,
        "classes": len(card.classes),
        "inputs": [[s.name, s.dtype, list(s.shape)] for s in card.inputs],
        "outputs": [[s.name, s.dtype, list(s.shape)] for s in card.outputs],
        "nodes": done.nodes,
        "size_bytes": done.size_bytes,
        "measured": record["measured"],
        "kept_fp32": list(done.kept_fp32),
        "underflowed_weights": done.underflowed,
        "sensitivity": {block: asdict(score) for block, score in done.sensitivity.items()},
        "quantization": record.get("quantization"),
        "lineage": record["lineage"],
        "floor": None if done.agreement is None else done.agreement.floor,
        "gate": None if done.verdict is None else done.verdict.to_dict(),
        "waterfall": None if done.waterfall is None else done.waterfall.to_dict(),
        "engine": None if done.engine is None else _engine_record(done.engine),
        "triton": None if done.triton is None else asdict(done.triton) | {"path": str(done.triton.path)},
        "seconds": round(seconds, 2),
    }


def result_summary(done: ExportResult, seconds: float) -> list[str]:
    """Return a result in lines for a person."""
    card, found = done.card, done.difference
    nodes = f"{done.nodes} nodes, " if done.nodes else ""  # an engine does not tell
    title = (
        f"{card.variant} {card.precision.value}, {_head(card)}, opset {card.opset}, {nodes}"
        f"{done.size_bytes / 2**20:.1f} MiB, {seconds:.1f} s"
    )
    lines = [
        title,
        *_weights_lines(card.lineage),
        *(f"  {spec.name}: {spec.dtype} ({', '.join(map(str, spec.shape))})" for spec in (*card.inputs, *card.outputs)),
    ]
    if found is None:
        action = "copied" if done.engine is None else "compiled"
        figures = [f"{key} {value:.4g}" for key, value in card.to_record()["measured"].items() if "agreement" in key]
        lines.append(f"  {action} as it is; measured when it was exported: {', '.join(figures) or 'nothing'}")
    elif card.quantization is not None:
        lines.extend(_int8_lines(done, card.quantization))
    elif card.output_kind is OutputKind.LABELS:
        lines.append(f"  against the original: {found.agreement:.3%} of pixels equal")
    else:
        lines.append(
            f"  against the original: max abs error {found.max_abs:.2e}, max rel error {found.max_rel:.2e} "
            f"(of the spread), {_equal(found.agreement, card)}"
        )
    lines.extend(_feature_lines(done))
    if done.agreement is not None and card.precision is not Precision.INT8:
        lines.append(f"  against fp32 on {done.agreement.images} of your images: {done.agreement}")
    if done.underflowed:
        lines.append(f"  {done.underflowed} weights became zero in half precision")
    if done.kept_fp32:
        lines.append(f"  {len(done.kept_fp32)} nodes stay in fp32: {', '.join(done.kept_fp32[:3])} ...")
    if done.engine is not None:
        lines.extend(_engine_lines(done.engine, card.precision.value))
    lines.extend(
        line for found in (done.verdict, done.waterfall) if found is not None for line in str(found).split("\n")
    )
    if done.triton is not None:
        lines.extend(_triton_lines(done.triton))
    return lines


def _head(card: ModelCard) -> str:
    return "features only" if card.headless else f"{len(card.classes)} classes"


def _share(agreement: float, card: ModelCard) -> str:
    return f"{agreement:.5f}" if card.headless else f"{agreement:.2%}"


def _equal(agreement: float, card: ModelCard) -> str:
    """Name the share of equal predictions; of a model without a head, the lowest cosine similarity."""
    shown = _share(agreement, card)
    return f"cosine similarity {shown}" if card.headless else f"{shown} of predictions equal"


def _feature_lines(done: ExportResult) -> Iterator[str]:
    """Show how similar each feature is to that of the original on validation images, else on synthetic ones."""
    measured = done.card.measured
    for name in (spec.name for spec in done.card.features):
        if name in done.features:
            found = done.features[name]
            yield f"  {name}: cosine similarity {found.mean:.5f} to fp32, worst image {found.worst:.5f}"
        elif f"parity_cosine_{name}" in measured:
            yield f"  {name}: cosine similarity {measured[f'parity_cosine_{name}']:.7f} to the original"


def _weights_lines(lineage: Mapping[str, str]) -> Iterator[str]:
    """Name the weights behind a zoo name or a URL; the export of a graph has done so before."""
    entry = named_entry(lineage.get("zoo", ""))
    if "graph" in lineage or (entry is None and "weights_url" not in lineage):
        return
    who = "" if entry is None else f"{entry.name}, published by {entry.source}: "
    known = f" (the publisher's begins with {entry.digest})" if entry is not None and entry.digest else ""
    where = lineage.get("weights_url", lineage["weights"])
    yield f"  weights: {who}{where}, SHA-256 {lineage['weights_sha256']}{known}"


def _engine_record(built: BuiltEngine) -> dict[str, object]:
    facts = built.facts
    return {
        "backend": facts.flavour,
        "version": facts.version,
        "capabilities": list(facts.capabilities),
        "gpu": facts.gpu,
        "convolutions": built.asked,
        "in_precision": built.reached,
        "int8_throughout": built.int8_throughout,
        "parity": None if built.parity is None else asdict(built.parity),
        "build_seconds": round(built.seconds, 2),
        "rebuild": facts.rebuild,
    }


def _engine_lines(built: BuiltEngine, precision: str) -> Iterator[str]:
    facts, found = built.facts, built.parity
    where = facts.gpu or "no GPU needed"
    yield f"  {facts.flavour} {facts.version} for {', '.join(facts.capabilities)} ({where}), {built.seconds:.1f} s"
    if built.reached is None:
        yield "  precision of the convolutions: not reported by this TensorRT"
    else:
        written = f", {built.int8_throughout} of them write int8, too" if precision == Precision.INT8.value else ""
        yield f"  {built.reached} of {built.asked} convolutions run in {precision}{written}"
    if found is None:
        yield "  on the GPU: not compared (no matching GPU here); the figures are for the ONNX graph on the CPU"
    else:
        same = f"{_equal(found.agreement, facts.card)} as ONNX Runtime's"
        yield f"  on the GPU: {same}, max rel error {found.max_rel:.2e}"


def _triton_lines(model: TritonModel) -> Iterator[str]:
    images = "" if model.images is None else f"; {model.images} takes JPEG and PNG files"
    yield f"  Triton: model {model.name}, version {model.version}, in {model.path.parent}{images}"
    if model.releases:
        yield f"  Triton {', '.join(model.releases)} loads engines of TensorRT {model.tensorrt}"


def _int8_lines(done: ExportResult, info: QuantizationInfo) -> Iterator[str]:
    yield (
        f"  {info.method} calibration on {info.images} images, for {info.target.value}; "
        f"floating point: {','.join(info.kept_in_float) or 'what the recipe keeps'}"
    )
    if info.implicit:
        yield "  TensorRT quantizes by itself, with these ranges; the figures below are for the model with Q/DQ nodes"
    for method, divergence in info.method_divergence.items():
        yield f"  {method:<12}divergence {divergence:.5f} (the lowest is best)"
    if info.validation is not None:
        found = info.validation
        yield (
            f"  against fp32 on {info.validation_images} validation images: "
            f"{done.agreement or _equal(found.agreement, done.card)}, worst image {_share(found.worst, done.card)}, "
            f"SQNR {found.sqnr_db:.1f} dB"
        )
    for block, score in done.sensitivity.items():
        yield f"  {block:<18}alone in INT8: {score.agreement:.3%} equal, SQNR {score.sqnr_db:.1f} dB"
