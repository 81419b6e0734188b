"""Latency on an NVIDIA GPU: ours against torch eager, torch.compile and a plain ONNX Runtime script, interleaved.

    python benchmarks/gpu_latency.py [--out FILE.md] [--limit SECONDS] [--models NAME ...] [--no-compile]
    python benchmarks/gpu_latency.py --dry-run        # the same code on the CPU, tiny, for CI: its figures mean nothing

Every figure is a median in milliseconds from arrays on the GPU to outputs on the GPU. The contenders of a column are
interleaved. Each cell is one JSON line on stdout as soon as it is measured; the table comes last.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
from comparison.table import Table, script_parser
from gpu_contenders import CONTENDERS, OURS, Call, Cell, LeftOutError

from hrnet_deploy import export
from hrnet_deploy.benchmark.timing import Latency, time_interleaved, warm_up
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.spec import Precision

MODELS = {"hrnet_w18": "224", "hrnet_w48": "224", "hrnetv2_w18_small_v2": "512x1024"}
BATCHES = (1, 4, 8)
# The most important first, for a run that is cut short.
PRECISIONS = (Precision.FP16, Precision.FP32, Precision.INT8)
EAGER = "torch eager"
_IMAGES = 8


def table(rows: Sequence[dict[str, Any]], models: Sequence[str], batches: Sequence[int]) -> Table:
    """Tabulate a model and contender a row, a batch and precision a column."""
    columns = [(batch, precision.value) for batch in batches for precision in Precision]
    medians = {_place(row): row["median_ms"] for row in rows if "median_ms" in row}
    lines = Table("", ("model", "", *(f"{batch} {precision}" for batch, precision in columns)))
    for model in models:
        for name in CONTENDERS:
            found = (medians.get((model, *column, name)) for column in columns)
            lines.rows.append((model, name, *("-" if ms is None else f"{ms:.2f}" for ms in found)))
        ratios = []
        for column in columns:
            ours = [ms for name in OURS if (ms := medians.get((model, *column, name))) is not None]
            eager = medians.get((model, *column, EAGER))
            ratios.append(f"{eager / min(ours):.2f}x" if ours and eager is not None else "-")
        lines.rows.append((model, "**ours against torch eager**", *ratios))
    absent = {(r["contender"], r["precision"], r["left_out"]) for r in rows if "left_out" in r and "contender" in r}
    lines.notes += [f"{name}, {precision}: {reason}" for name, precision, reason in sorted(absent)]
    return lines


def _place(row: dict[str, Any]) -> tuple[str, int, str, str]:
    return row["model"], row["batch"], row["precision"], row["contender"]


def measure(cell: Cell, names: Sequence[str], seconds: float) -> Iterator[dict[str, Any]]:
    """Time the contenders of one column; yield the latency of each, or the reason for its absence."""
    with contextlib.ExitStack() as stack:
        calls = {}
        for name in names:
            found = _opened(stack, name, cell)
            if isinstance(found, str):
                yield {"contender": name, "left_out": found}
            else:
                calls[name] = found
        warm = [warm_up(call, limit_s=seconds) for call in calls.values()]
        samples = time_interleaved(list(calls.values()), seconds=seconds, warm_ups=warm)
        for name, times in zip(calls, samples, strict=True):
            found_ms = round(Latency.of(times).median_ms, 4)
            yield {"contender": name, "median_ms": found_ms, "samples": len(times)}


def _opened(stack: contextlib.ExitStack, name: str, cell: Cell) -> Call | str:
    """Return a contender's call that has worked once, or the reason for its absence."""
    try:
        call = stack.enter_context(CONTENDERS[name](cell))
        call()  # torch.compile compiles here, or fails
        return call  # noqa: TRY300
    except (LeftOutError, HrnetDeployError) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - one contender that breaks must not end the others
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def graphs(model: str, imgsz: str, batches: Sequence[int], folder: Path) -> dict[Precision, Path]:
    """Export a model with random weights in every precision; existing files are used again."""
    images = folder / "images"
    if not images.is_dir():
        images.mkdir(parents=True)
        for index, image in enumerate(synthetic_images(_IMAGES, (256, 320))):
            cv2.imwrite(str(images / f"{index}.png"), image)
    found = {}
    for precision in PRECISIONS:
        path = folder / f"{model}_{precision.value}.onnx"
        options: dict[str, Any] = {}
        if precision is Precision.INT8:
            options = {"calib_data": images, "qdq_target": "tensorrt", "remainder": "fp16"}
        if not path.exists():
            batch = f"{min(batches)}:{sorted(batches)[len(batches) // 2]}:{max(batches)}"
            options |= {"precision": precision.value, "batch": batch}
            export(model, weights="random", imgsz=imgsz, output=path, **options)
        found[precision] = path
    return found


def run(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure everything that fits into the time; print each record as it comes."""
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    names = [name for name in CONTENDERS if not (args.no_compile and name == "torch.compile")]
    for model in args.models:
        paths = graphs(model, args.models[model], args.batches, folder)
        for precision, batch in itertools.product(PRECISIONS, args.batches):
            key = {"model": model, "precision": precision.value, "batch": batch}
            if time.perf_counter() - began > args.limit:
                found: Iterable[dict[str, Any]] = [{"left_out": f"{args.limit:.0f} s are over"}]
            else:
                found = measure(Cell(model, paths[precision], precision, batch, args.device), names, args.seconds)
            for one in found:
                rows.append(key | one)
                print(json.dumps(rows[-1]), flush=True)
    return rows


def parse_args() -> argparse.Namespace:
    """Read the command line; `models` gives the image size by name."""
    parser = script_parser(__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender and column (default 1)")
    parser.add_argument(
        "--limit", type=float, default=1800, help="begin no column after so many seconds (default 1800)"
    )
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out; it takes minutes")
    parser.add_argument("--keep", type=Path, help="folder for exported files, to be used again")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, one tiny model")
    args = parser.parse_args()
    args.models, args.batches, args.device = {name: MODELS[name] for name in args.models}, BATCHES, "cuda"
    if args.dry_run:
        args.models, args.batches, args.device = {"hrnet_w18_small_v1": "32"}, (1,), "cpu"
        args.seconds = 0.0
    return args


def main() -> int:
    """Measure, and print the table."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = run(args, args.keep or Path(scratch))
    text = table(rows, list(args.models), args.batches).markdown()
    if args.dry_run:
        text = f"A dry run on the CPU: these figures mean nothing.\n\n{text}"
    print(f"\n{text}")
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    return 0 if any(row.get("contender") in OURS and "median_ms" in row for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
