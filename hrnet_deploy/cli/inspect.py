"""`hrnet-inspect`: what an artefact is, where it came from, and whether it is intact."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hrnet_deploy.cli.console import launch, next_command, parser
from hrnet_deploy.integrity.fingerprint import ANSWER_KEY, GRAPH_KEY, PICTURE_KEY
from hrnet_deploy.integrity.inspect import Inspection, inspect, kernels, layers_by_precision
from hrnet_deploy.integrity.verify import Check, verify
from hrnet_deploy.processing.preprocess import described
from hrnet_deploy.quantization_info import QuantizationInfo
from hrnet_deploy.spec import ModelCard, TensorSpec
from hrnet_deploy.system.text_table import printable, wrapped

_SHOWN_CLASSES = 6
_SHOWN_NODES = 10
_LABEL = 15
_WEIGHTS = {
    "zoo": "zoo entry",
    "weights": "",
    "weights_url": "from",
    "dialect": "dialect",
    "weights_sha256": "SHA-256",
    "graph": "graph",
    "graph_sha256": "SHA-256",
}
_SEALS = (GRAPH_KEY, PICTURE_KEY, ANSWER_KEY)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGEST_DIGITS = 16


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        argv: the arguments; None for the process's own.

    Returns:
        One attribute per flag.
    """
    p = parser("hrnet-inspect", "Show what an artefact is, where it came from and what was measured on it.")
    p.add_argument("artefact", metavar="ARTEFACT", help="an .onnx or .engine file")
    p.add_argument(
        "--verify", action="store_true", help="recompute digests and ask for the golden answer again (runs the file)"
    )
    p.add_argument(
        "--layers", action="store_true", help="load an engine with TensorRT and count its kernels (runs the file)"
    )
    p.add_argument("--device", default="auto", metavar="D", help="GPU to verify an engine on (default: auto)")
    return p.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Print what is known.

    Args:
        args: from `parse_args`.

    Returns:
        0.

    Raises:
        ArtifactError: the file is damaged, foreign, or not what its digests say.
        VerificationError: it answers otherwise than when it was exported.
        HrnetDeployError: whatever loading an engine raises, where that was asked for.
    """
    found = inspect(Path(args.artefact))
    loaded = layers_by_precision(kernels(found)) if args.layers else None
    checks = verify(found, device=args.device) if args.verify else ()
    if args.json:
        _print_json(_record(found, loaded, checks if args.verify else None))
    else:
        print("\n".join(_lines(found, loaded, checks)))
    if not args.verify:
        next_command(args, "hrnet-inspect", args.artefact, "--verify")
    elif found.card is None and found.kind == "onnx":
        next_command(args, "hrnet-export", args.artefact, "--task", "classification", "-o", "NEW.onnx")
    else:
        next_command(args, "hrnet-bench", args.artefact)
    return 0


def main() -> int:
    """Entry point of hrnet-inspect.

    Returns:
        The exit code.
    """
    return launch("hrnet-inspect", parse_args, run)


def _print_json(value: Mapping[str, Any]) -> None:
    """JSON in which nothing steers a terminal: what a foreign file holds is escaped, as JSON allows."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def _lines(found: Inspection, loaded: Mapping[str, int] | None, checks: Sequence[Check]) -> list[str]:
    lines = [printable(found.path.name)]
    for label, text in _entries(found, loaded):
        if checks and label == "golden answer":
            continue
        lines += wrapped(printable(text), f"  {label:<{_LABEL}} ")
    for check in checks:
        lines += wrapped(printable(f"{check.outcome}: {check.detail}"), f"  {check.name:<{_LABEL}} ")
    return lines


def _entries(found: Inspection, loaded: Mapping[str, int] | None) -> list[tuple[str, str]]:
    entries = [("file", f"{found.size_bytes:,} bytes"), ("SHA-256", found.sha256)]
    if found.kind == "engine":
        entries += _engine(found)
    if found.card is None:
        missing = "its sidecar is not beside it" if found.kind == "engine" else "made by another tool"
        entries.append(("card", f"none: {missing}"))
    else:
        entries += _card(found.card)
    if found.convolutions is not None:
        entries.append(("convolutions", _counts(found.convolutions) or "none"))
    if found.nodes:
        shown = dict(list(found.nodes.items())[:_SHOWN_NODES])
        more = f" and {len(found.nodes) - len(shown)} other kinds" if len(found.nodes) > len(shown) else ""
        entries.append(("nodes", f"{sum(found.nodes.values()):,}: {_counts(shown)}{more}"))
    if loaded is not None:
        entries.append(("kernels", f"convolutions by the type they read: {_counts(loaded) or 'none seen'}"))
    return entries


def _card(card: ModelCard) -> list[tuple[str, str]]:
    names = ", ".join(card.classes[:_SHOWN_CLASSES]) + (", …" if len(card.classes) > _SHOWN_CLASSES else "")
    pixels = ", pixels in" if card.pixels_in else ""
    entries = [
        ("net", f"{card.variant}, {card.task.value}"),
        ("classes", f"{len(card.classes)}: {names}"),
        *([] if card.threshold is None else [("answer", _threshold(card))]),
        ("precision", f"{card.precision.value}, opset {card.opset}, answers with {card.output_kind.value}{pixels}"),
        ("preprocessing", described(card.preprocessing)),
        *([("resizes", "with align_corners")] if card.align_corners else []),
        ("takes", _range(card)),
        *(("input", _tensor(spec)) for spec in card.inputs),
        *(("output", _tensor(spec)) for spec in card.outputs),
    ]
    lineage = dict(card.lineage)
    parts = {
        "made from": _told(lineage, _WEIGHTS),
        "calibration": "" if card.quantization is None else _calibration(card.quantization),
        "golden answer": "stored, see --verify" if ANSWER_KEY in lineage else "none stored",
    }
    rest = {key: value for key, value in lineage.items() if key not in _SEALS}
    parts["made with"] = ", ".join(f"{key} {value}" for key, value in rest.items())
    parts["measured"] = (
        ", ".join(f"{name} {value:.4g}" for name, value in card.to_record()["measured"].items()) or "nothing"
    )
    return entries + [(label, text) for label, text in parts.items() if text]


def _threshold(card: ModelCard) -> str:
    return f"one channel: {card.classes[1]} where its sigmoid is above {card.threshold:g}, else {card.classes[0]}"


def _calibration(info: QuantizationInfo) -> str:
    parts = {
        "method": info.method,
        "images": str(info.images),
        "list SHA-256": f"{info.images_sha256[:_DIGEST_DIGITS]}…",
        "target": info.target.value,
        "residual": "" if info.residual is None else info.residual.value,
        "INT8 path": "implicit" if info.implicit else "",
        "figures are of": "qdq" if info.implicit else "",
        "kept in float": ",".join(info.kept_in_float) or "-",
        "remainder": info.remainder,
    }
    return ", ".join(f"{label} {text}" for label, text in parts.items() if text)


def _told(lineage: dict[str, str], names: Mapping[str, str]) -> str:
    """Take these entries out of the lineage, and say them in words."""
    taken = [(label, lineage.pop(name)) for name, label in names.items() if name in lineage]
    short = [(label, f"{value[:_DIGEST_DIGITS]}…" if _DIGEST.fullmatch(value) else value) for label, value in taken]
    return ", ".join(f"{label} {value or '-'}".strip() for label, value in short)


def _engine(found: Inspection) -> list[tuple[str, str]]:
    built = f"{found.flavour or 'TensorRT'} {found.version or 'of unknown version'}"
    facts = found.facts
    if facts is None:
        known = ", ".join(f"{key} {value:.60}" for key, value in found.metadata.items())
        return [("built by", built), *([("metadata", known)] if known else [])]
    gpu = f" ({facts.gpu})" if facts.gpu else ""
    entries = [
        ("built by", built),
        ("built for", f"{', '.join(facts.capabilities)}{gpu}"),
        ("profile", _profile(facts.profile) or "fixed shapes"),
        ("convolutions", _counts(facts.convolutions) or "not counted"),
    ]
    if facts.options:
        entries.append(("options", ", ".join(f"{key} {value}" for key, value in facts.options.items())))
    return [*entries, ("graph", f"SHA-256 {facts.graph_sha256}"), ("rebuild", facts.rebuild)]


def _range(card: ModelCard) -> str:
    low, best, high = card.shapes.min_nhw, card.shapes.opt_nhw, card.shapes.max_nhw
    batch = f"batch {low[0]} to {high[0]} (best {best[0]})" if card.shapes.dynamic_batch else f"batch {best[0]}"
    sizes = [f"{height}x{width}" for _, height, width in (low, best, high)]
    size = f"{sizes[0]} to {sizes[2]} (best {sizes[1]})" if card.shapes.dynamic_hw else sizes[1]
    return f"{batch}, height x width {size}"


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype} ({', '.join(map(str, spec.shape))})"


def _profile(profile: Mapping[str, Sequence[Sequence[int]]]) -> str:
    return "; ".join(
        f"{name} {' : '.join('x'.join(map(str, shape)) for shape in shapes)}" for name, shapes in profile.items()
    )


def _counts(table: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in table.items())


def _record(found: Inspection, loaded: Mapping[str, int] | None, checks: Sequence[Check] | None) -> dict[str, Any]:
    facts = found.facts
    return {
        "path": str(found.path),
        "kind": found.kind,
        "size_bytes": found.size_bytes,
        "sha256": found.sha256,
        "card": None if found.card is None else found.card.to_record(),
        "nodes": dict(found.nodes),
        "convolutions": None if found.convolutions is None else dict(found.convolutions),
        "engine": None
        if found.kind != "engine"
        else {
            "flavour": found.flavour,
            "version": found.version,
            "metadata": dict(found.metadata),
            "sidecar": None if facts is None else {k: v for k, v in json.loads(facts.to_json()).items() if k != "card"},
            "kernels": None if loaded is None else dict(loaded),
        },
        "checks": None
        if checks is None
        else [{"name": check.name, "outcome": check.outcome, "detail": check.detail} for check in checks],
    }
