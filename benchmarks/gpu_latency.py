"""Latency on an NVIDIA GPU: ours against torch eager, torch.compile and a plain ONNX Runtime script, in turns.

    python benchmarks/gpu_latency.py [--out FILE.md] [--limit SECONDS] [--models NAME ...] [--no-compile]
    python benchmarks/gpu_latency.py --dry-run        # the same code on the CPU, tiny, for CI: its figures mean nothing

Every figure is a median in milliseconds from arrays on the GPU to answers on the GPU. All that share a column of a
model are timed in turns. Each cell is one JSON line on stdout as soon as it is known; the table comes last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
from gpu_contenders import CONTENDERS, OURS, Call, Cell, LeftOutError

from hrnet_deploy import export
from hrnet_deploy.benchmark.timing import Latency, time_interleaved, warm_up
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.spec import Precision

MODELS = {"hrnet_w18": "224", "hrnet_w48": "224", "hrnetv2_w18_small_v2": "512x1024"}
BATCHES = (1, 4, 8)
# What decides first, for a run that is cut short.
PRECISIONS = (Precision.FP16, Precision.FP32, Precision.INT8)
EAGER = "torch eager"
_PICTURES = 8


@dataclass
class Table:
    """What was measured.

    Attributes:
        medians: milliseconds by (model, contender, batch, precision).
        reasons: why there is none, likewise.
    """

    medians: dict[tuple[str, str, int, str], float] = field(default_factory=dict)
    reasons: dict[tuple[str, str, int, str], str] = field(default_factory=dict)

    def lines(self, models: Sequence[str], batches: Sequence[int]) -> list[str]:
        """Markdown: a row a model and contender, a column a batch and precision, in the order of published tables."""
        columns = [(batch, precision.value) for batch in batches for precision in Precision]
        head = ["model", "", *(f"{batch} {precision}" for batch, precision in columns)]
        rows = [head, ["---"] * 2 + ["---:"] * len(columns)]
        for model in models:
            rows += [[model, name, *(self._cell(model, name, *column) for column in columns)] for name in CONTENDERS]
            rows.append([model, "**ours against torch eager**", *(self.ratio(model, *column) for column in columns)])
        lines = [f"| {' | '.join(row)} |" for row in rows]
        why = sorted({(name, precision, reason) for (_, name, _, precision), reason in self.reasons.items()})
        return lines + [""] + [f"- {name}, {precision}: {reason}" for name, precision, reason in why]

    def ratio(self, model: str, batch: int, precision: str) -> str:
        """How many times as fast the fastest of ours is as torch eager in the same column."""
        ours = [t for (m, n, b, p), t in self.medians.items() if (m, b, p) == (model, batch, precision) and n in OURS]
        eager = self.medians.get((model, EAGER, batch, precision))
        return f"{eager / min(ours):.2f}x" if ours and eager is not None else "-"

    def _cell(self, model: str, name: str, batch: int, precision: str) -> str:
        median = self.medians.get((model, name, batch, precision))
        return "-" if median is None else f"{median:.2f}"


def measure(cell: Cell, names: Sequence[str], seconds: float) -> Iterator[tuple[str, Latency | str]]:
    """Time the contenders of one column in turns.

    Args:
        cell: what is run.
        names: of the contenders.
        seconds: for each.

    Yields:
        Name, and its latency or the reason why there is none.
    """
    with contextlib.ExitStack() as stack:
        calls = {}
        for name in names:
            found = _opened(stack, name, cell)
            if isinstance(found, str):
                yield name, found
            else:
                calls[name] = found
        warm = [warm_up(call, limit_s=seconds) for call in calls.values()]
        samples = time_interleaved(list(calls.values()), seconds=seconds, warm_ups=warm)
        for name, times in zip(calls, samples, strict=True):
            yield name, Latency.of(times)


def _opened(stack: contextlib.ExitStack, name: str, cell: Cell) -> Call | str:
    """A contender's call, or why there is none."""
    try:
        return stack.enter_context(CONTENDERS[name](cell))
    except (LeftOutError, HrnetDeployError) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - one contender that breaks must not end the others
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def graphs(model: str, imgsz: str, batches: Sequence[int], folder: Path) -> dict[Precision, Path]:
    """Export a model in every precision.

    Args:
        model: variant; its weights are seeded noise.
        imgsz: as for hrnet-export.
        batches: the batch sizes to serve.
        folder: for the files; what is there already is used again.

    Returns:
        File by precision.
    """
    pictures = folder / "pictures"
    if not pictures.is_dir():
        pictures.mkdir(parents=True)
        for index, picture in enumerate(synthetic_images(_PICTURES, (256, 320))):
            cv2.imwrite(str(pictures / f"{index}.png"), picture)
    found = {}
    for precision in PRECISIONS:
        path = folder / f"{model}_{precision.value}.onnx"
        options = {}
        if precision is Precision.INT8:
            options = {"calib_data": pictures, "qdq_target": "tensorrt", "remainder": "fp16"}
        if not path.exists():
            batch = f"{min(batches)}:{sorted(batches)[len(batches) // 2]}:{max(batches)}"
            export(
                model,
                weights="random",
                imgsz=imgsz,
                precision=precision.value,
                batch=batch,
                output=path,
                **options,  # type: ignore[arg-type]
            )
        found[precision] = path
    return found


def run(args: argparse.Namespace, folder: Path) -> Table:
    """Measure everything that fits into the time.

    Args:
        args: from the command line.
        folder: for exported files.

    Returns:
        The figures.
    """
    table, began = Table(), time.perf_counter()
    names = [name for name in CONTENDERS if not (args.no_compile and name == "torch.compile")]
    for model in args.models:
        paths = graphs(model, args.models[model], args.batches, folder)
        for precision in PRECISIONS:
            for batch in args.batches:
                key = {"model": model, "precision": precision.value, "batch": batch}
                if time.perf_counter() - began > args.limit:
                    print(json.dumps(key | {"left_out": f"{args.limit:.0f} s are over"}), flush=True)
                    continue
                cell = Cell(model, paths[precision], precision, batch, args.device)
                for name, found in measure(cell, names, args.seconds):
                    place = (model, name, batch, precision.value)
                    if isinstance(found, str):
                        table.reasons[place] = found
                        print(json.dumps(key | {"contender": name, "left_out": found}), flush=True)
                    else:
                        table.medians[place] = found.median_ms
                        figures = {"median_ms": round(found.median_ms, 4), "samples": found.samples}
                        print(json.dumps(key | {"contender": name} | figures), flush=True)
    return table


def parse_args() -> argparse.Namespace:
    """Read the command line.

    Returns:
        models (imgsz by name), batches, seconds, limit, device, out, no_compile, keep.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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
        args.seconds, args.no_compile = 0.0, True
    return args


def main() -> int:
    """Measure, and print the table."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table = run(args, args.keep or Path(scratch))
    text = "\n".join(table.lines(list(args.models), args.batches))
    if args.dry_run:
        text = f"A dry run on the CPU: these figures mean nothing.\n\n{text}"
    print(f"\n{text}")
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    return 0 if any(name in OURS for _, name, *_ in table.medians) else 1


if __name__ == "__main__":
    sys.exit(main())
