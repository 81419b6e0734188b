"""`hrnet-inspect`: the properties, the origin and the integrity of an artifact."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hrnet_deploy.cli.artifact_arguments import URL_HELP, add_server_flags, locate_with_card, server_words
from hrnet_deploy.cli.console import next_command, print_json, print_result
from hrnet_deploy.cli.inspect_runtimes import runtime_lines
from hrnet_deploy.cli.inspect_served import describe_tensor, served_entries, served_record
from hrnet_deploy.cli.launch import launch
from hrnet_deploy.cli.parser import add_special_flag, parser
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.errors import UsageError
from hrnet_deploy.integrity.fingerprint import ANSWER_KEY, GRAPH_KEY, PICTURE_KEY
from hrnet_deploy.integrity.inspect import Inspection, convolutions_by_type, inspect, read_kernels
from hrnet_deploy.integrity.inspect_server import inspect_server, verify_server
from hrnet_deploy.integrity.runtimes import RuntimeSupport, find_runtimes
from hrnet_deploy.integrity.verify import Check, verify
from hrnet_deploy.processing.preprocess import described
from hrnet_deploy.quantization_info import QuantizationInfo
from hrnet_deploy.spec import ModelCard
from hrnet_deploy.system.text_table import printable, wrapped

_SHOWN_CLASSES = 6
_SHOWN_NODES = 10
_LABEL_WIDTH = 15
_WEIGHTS = {
    "zoo": "zoo entry",
    "weights": "",
    "weights_url": "from",
    "dialect": "dialect",
    "weights_sha256": "SHA-256",
    "graph": "graph",
    "graph_sha256": "SHA-256",
}
_FINGERPRINT_KEYS = (GRAPH_KEY, PICTURE_KEY, ANSWER_KEY)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGEST_DIGITS = 16


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    p = parser("hrnet-inspect", "Show an artifact's properties, its origin and its measured error.")
    p.add_argument("artifact", metavar="ARTIFACT", help=f"an .onnx or .engine file, or the {URL_HELP}")
    p.add_argument(
        "--verify", action="store_true", help="recompute digests and the output fingerprint (this runs the file)"
    )
    p.add_argument(
        "--layers", action="store_true", help="load an engine with TensorRT and count its kernels (this runs the file)"
    )
    p.add_argument(
        "--runtimes", action="store_true", help="list the runtimes that run the file, by its operators and opset"
    )
    p.add_argument("--device", default="auto", metavar="D", help="GPU to verify an engine on (default: auto)")
    add_server_flags(p)
    add_special_flag(p)
    return p.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Print the properties."""
    (artifact,) = locate_with_card(args, [args.artifact])
    if isinstance(artifact, RemoteModel):
        return _run_served(args, artifact)
    inspection = inspect(artifact)
    kernels = convolutions_by_type(read_kernels(inspection)) if args.layers else None
    checks = verify(inspection, device=args.device) if args.verify else ()
    runtimes = find_runtimes(inspection) if args.runtimes else None
    if args.json:
        print_json(_record(inspection, kernels, checks if args.verify else None, runtimes))
    else:
        lines = _block(inspection.path.name, _entries(inspection, kernels), checks)
        print_result(*lines, *([] if runtimes is None else runtime_lines(runtimes)))
    if not args.verify:
        next_command(args, "hrnet-inspect", args.artifact, "--verify")
    elif inspection.card is None and inspection.kind == "onnx":
        next_command(args, "hrnet-export", args.artifact, "--task", "classification", "-o", "NEW.onnx")
    else:
        next_command(args, "hrnet-bench", args.artifact)
    return 0


def _run_served(args: argparse.Namespace, served: RemoteModel) -> int:
    """Print the properties of a model on a server."""
    if args.layers or args.device != "auto":
        option = "--layers" if args.layers else "--device"
        raise UsageError(f"{option} must be for an engine, got {served}. Leave it out.")
    if args.runtimes:
        raise UsageError(f"--runtimes must be for a file, got {served}. Name the file that is served.")
    inspection = inspect_server(served)
    checks = verify_server(inspection) if args.verify else ()
    if args.json:
        print_json(served_record(inspection, checks if args.verify else None))
    else:
        entries = served_entries(inspection) + ([] if inspection.card is None else _card_entries(inspection.card))
        print_result(*_block(str(served), entries, checks))
    command, flags = ("hrnet-bench", ()) if args.verify else ("hrnet-inspect", ("--verify",))
    next_command(args, command, served, *server_words(args), *flags)
    return 0


def main() -> int:
    """Run hrnet-inspect and return the exit code."""
    return launch("hrnet-inspect", parse_args, run)


def _block(name: str, entries: Sequence[tuple[str, str]], checks: Sequence[Check]) -> list[str]:
    """Lay out the entries, where a check of the fingerprint replaces its entry."""
    lines = [printable(name)]
    checked = {check.name for check in checks}
    for label, text in entries:
        if label != "fingerprint" or label not in checked:
            lines += wrapped(printable(text), f"  {label:<{_LABEL_WIDTH}} ")
    for check in checks:
        lines += wrapped(printable(f"{check.outcome}: {check.detail}"), f"  {check.name:<{_LABEL_WIDTH}} ")
    return lines


def _entries(inspection: Inspection, kernels: Mapping[str, int] | None) -> list[tuple[str, str]]:
    entries = [("file", f"{inspection.size_bytes:,} bytes"), ("SHA-256", inspection.sha256)]
    if inspection.kind == "engine":
        entries += _engine_entries(inspection)
    if inspection.card is None:
        missing = "its sidecar is not beside it" if inspection.kind == "engine" else "created by another tool"
        entries.append(("card", f"none: {missing}"))
    else:
        entries += _card_entries(inspection.card)
    if inspection.convolutions is not None:
        entries.append(("convolutions", _counts(inspection.convolutions) or "none"))
    if inspection.nodes:
        shown = dict(list(inspection.nodes.items())[:_SHOWN_NODES])
        more = len(inspection.nodes) - len(shown)
        others = f" and {more} other kinds" if more else ""
        entries.append(("nodes", f"{sum(inspection.nodes.values()):,}: {_counts(shown)}{others}"))
    if kernels is not None:
        entries.append(("kernels", f"convolutions by input type: {_counts(kernels) or 'none'}"))
    return entries


def _card_entries(card: ModelCard) -> list[tuple[str, str]]:
    names = ", ".join(card.classes[:_SHOWN_CLASSES]) + (", …" if len(card.classes) > _SHOWN_CLASSES else "")
    pixels = ", pixel input" if card.pixels_in else ""
    lineage = dict(card.lineage)
    weights = _pop_entries(lineage, _WEIGHTS)
    tools = ", ".join(f"{key} {value}" for key, value in lineage.items() if key not in _FINGERPRINT_KEYS)
    measured = ", ".join(f"{name} {value:.4g}" for name, value in card.to_record()["measured"].items())
    entries = [
        ("model", f"{card.variant}, {card.task.value}"),
        ("classes", "none, there is no head" if card.headless else f"{len(card.classes)}: {names}"),
        ("threshold", "" if card.threshold is None else _threshold(card)),
        ("precision", f"{card.precision.value}, opset {card.opset}, {card.output_kind.value} output{pixels}"),
        ("preprocessing", described(card.preprocessing)),
        ("resizes", "with align_corners" if card.align_corners else ""),
        ("shapes", _shapes(card)),
        *(("input", describe_tensor(spec)) for spec in card.inputs),
        *(("feature" if spec in card.features else "output", describe_tensor(spec)) for spec in card.outputs),
        ("exported from", weights),
        ("calibration", "" if card.quantization is None else _calibration(card.quantization)),
        ("fingerprint", "stored, see --verify" if ANSWER_KEY in card.lineage else "none stored"),
        ("exported with", tools),
        ("measured", measured or "nothing"),
    ]
    return [(label, text) for label, text in entries if text]


def _threshold(card: ModelCard) -> str:
    return f"one channel: {card.classes[1]} if its sigmoid is above {card.threshold:g}, else {card.classes[0]}"


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


def _pop_entries(lineage: dict[str, str], names: Mapping[str, str]) -> str:
    """Remove entries from the lineage and describe them."""
    taken = [(label, lineage.pop(name)) for name, label in names.items() if name in lineage]
    short = [(label, f"{value[:_DIGEST_DIGITS]}…" if _DIGEST.fullmatch(value) else value) for label, value in taken]
    return ", ".join(f"{label} {value or '-'}".strip() for label, value in short)


def _engine_entries(inspection: Inspection) -> list[tuple[str, str]]:
    built = f"{inspection.flavour or 'TensorRT'} {inspection.version or 'of unknown version'}"
    sidecar = inspection.sidecar
    if sidecar is None:
        known = ", ".join(f"{key} {value:.60}" for key, value in inspection.metadata.items())
        return [("built by", built), *([("metadata", known)] if known else [])]
    gpu = f" ({sidecar.gpu})" if sidecar.gpu else ""
    entries = [
        ("built by", built),
        ("built for", f"{', '.join(sidecar.capabilities)}{gpu}"),
        ("profile", _profile(sidecar.profile) or "fixed shapes"),
        ("convolutions", _counts(sidecar.convolutions) or "not counted"),
    ]
    if sidecar.options:
        entries.append(("options", ", ".join(f"{key} {value}" for key, value in sidecar.options.items())))
    return [*entries, ("graph", f"SHA-256 {sidecar.graph_sha256}"), ("rebuild", sidecar.rebuild)]


def _shapes(card: ModelCard) -> str:
    low, best, high = card.shapes.min_nhw, card.shapes.opt_nhw, card.shapes.max_nhw
    batch = f"batch {low[0]} to {high[0]} (best {best[0]})" if card.shapes.dynamic_batch else f"batch {best[0]}"
    sizes = [f"{height}x{width}" for _, height, width in (low, best, high)]
    size = f"{sizes[0]} to {sizes[2]} (best {sizes[1]})" if card.shapes.dynamic_hw else sizes[1]
    return f"{batch}, height x width {size}"


def _profile(profile: Mapping[str, Sequence[Sequence[int]]]) -> str:
    return "; ".join(
        f"{name} {' : '.join('x'.join(map(str, shape)) for shape in shapes)}" for name, shapes in profile.items()
    )


def _counts(table: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in table.items())


def _record(
    inspection: Inspection,
    kernels: Mapping[str, int] | None,
    checks: Sequence[Check] | None,
    runtimes: Sequence[RuntimeSupport] | None,
) -> dict[str, Any]:
    engine = None
    if inspection.kind == "engine":
        sidecar = None if inspection.sidecar is None else json.loads(inspection.sidecar.to_json())
        engine = {
            "flavour": inspection.flavour,
            "version": inspection.version,
            "metadata": dict(inspection.metadata),
            "sidecar": None if sidecar is None else {key: sidecar[key] for key in sidecar if key != "card"},
            "kernels": None if kernels is None else dict(kernels),
        }
    return {
        "path": str(inspection.path),
        "kind": inspection.kind,
        "size_bytes": inspection.size_bytes,
        "sha256": inspection.sha256,
        "card": None if inspection.card is None else inspection.card.to_record(),
        "nodes": dict(inspection.nodes),
        "convolutions": None if inspection.convolutions is None else dict(inspection.convolutions),
        "engine": engine,
        "checks": None if checks is None else [dataclasses.asdict(check) for check in checks],
        "runtimes": None if runtimes is None else [dataclasses.asdict(each) for each in runtimes],
    }
