"""Latency on an NVIDIA GPU: ours against torch eager, torch.compile and a plain ONNX Runtime script, interleaved.

    python benchmarks/gpu_latency.py [--out FILE.md] [--limit SECONDS] [--models NAME ...] [--no-compile]
    python benchmarks/gpu_latency.py --dry-run        # the same code on the CPU, tiny, for CI: its figures mean nothing

Every figure is a median in milliseconds from arrays on the GPU to outputs on the GPU. The contenders of a column are
interleaved. Each cell is one JSON line on stdout as soon as it is measured; the table comes last.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import operator
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from comparison.config import created_once, synthetic_photos
from comparison.table import Table, script_parser
from gpu_bench import noise
from numpy.typing import NDArray

from hrnet_deploy import Predictor, export
from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.benchmark.timed_model import TimedModel
from hrnet_deploy.benchmark.timing import Latency, time_interleaved, warm_up
from hrnet_deploy.engines.ort.cuda import check_placement
from hrnet_deploy.engines.ort.libraries import preload_libraries
from hrnet_deploy.engines.ort.providers import CPU, CUDA
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.spec import Precision

MODELS = {"hrnet_w18": "224", "hrnet_w48": "224", "hrnetv2_w18_small_v2": "512x1024"}
BATCHES = (1, 4, 8)
# The most important first, for a run that is cut short.
PRECISIONS = (Precision.FP16, Precision.FP32, Precision.INT8)
EAGER = "torch eager"

Call = Callable[[], object]


class LeftOutError(Exception):
    """A contender does not run a column; the message has the reason."""


@dataclass(frozen=True)
class Cell:
    """A column of one model: its graph in a precision, a batch, and the device ("cpu" for a dry run)."""

    model: str
    path: Path
    precision: Precision
    batch: int
    device: str

    @property
    def input(self) -> NDArray[np.float32]:
        """Noise of the graph's input shape."""
        (shape,) = read_header(self.path).inputs.values()
        return noise(tuple(shape), self.batch)


@contextlib.contextmanager
def ours_onnx(cell: Cell) -> Iterator[Call]:
    """Run the .onnx file on ONNX Runtime."""
    with Predictor(cell.path, device=cell.device, backend="onnxruntime") as predictor:
        yield TimedModel(cell.path, predictor).engine_call(cell.batch)


@contextlib.contextmanager
def ours_engine(cell: Cell) -> Iterator[Call]:
    """Run the same graph compiled by the installed TensorRT."""
    if cell.device == "cpu":
        raise LeftOutError("TensorRT runs on a GPU only")
    path = cell.path.with_suffix(".engine")
    if not path.exists():
        export(str(cell.path), output=path)
    with Predictor(path, device=cell.device) as predictor:
        yield TimedModel(path, predictor).engine_call(cell.batch)


@contextlib.contextmanager
def plain_onnxruntime(cell: Cell) -> Iterator[Call]:
    """Run the .onnx file as ONNX Runtime's documentation shows it: default options, arrays bound on the GPU."""
    import onnxruntime

    provider = CUDA if cell.device == "cuda" else CPU
    if provider == CUDA:
        preload_libraries()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # what it cannot fold fills pages
    session = onnxruntime.InferenceSession(str(cell.path), options, providers=[provider])
    if provider == CUDA:
        check_placement(session, cell.device, provider)
    value = session.get_inputs()[0]
    binding = session.io_binding()
    on_device = onnxruntime.OrtValue.ortvalue_from_numpy(cell.input, cell.device, 0)
    binding.bind_ortvalue_input(value.name, on_device)
    for output in session.get_outputs():
        binding.bind_output(output.name, cell.device, 0)
    yield lambda: session.run_with_iobinding(binding)


@contextlib.contextmanager
def torch_call(cell: Cell, *, compiled: bool = False) -> Iterator[Call]:
    """Run PyTorch, channels last, with cuDNN's own benchmark; compiled with CUDA graphs, on a CPU to C++ code."""
    import torch

    from hrnet_deploy.models.network import build_network
    from hrnet_deploy.models.variants import find_variant

    if compiled and cell.device == "cpu" and cell.precision is Precision.FP16:
        raise LeftOutError("a dry run compiles once, in FP32")
    if cell.precision is Precision.INT8:
        raise LeftOutError("PyTorch has no INT8 convolutions on a GPU")
    if cell.device == "cuda" and not torch.cuda.is_available():
        raise LeftOutError(f"torch {torch.__version__} has no CUDA here")
    dtype = torch.float16 if cell.precision is Precision.FP16 else torch.float32
    torch.backends.cudnn.benchmark = True
    (logits,) = read_header(cell.path).outputs.values()
    model: Any = build_network(find_variant(cell.model), int(logits[1]))
    model = model.to(cell.device, dtype, memory_format=torch.channels_last)
    x = torch.from_numpy(cell.input).to(cell.device, dtype, memory_format=torch.channels_last)
    if compiled:
        model = torch.compile(model, mode="reduce-overhead", dynamic=False)

    def call() -> object:
        with torch.inference_mode():
            output = model(x)
        if cell.device == "cuda":
            torch.cuda.synchronize()
        return output

    try:
        yield call
    finally:
        if compiled:
            torch.compiler.reset()


OURS = ("hrnet-deploy .onnx", "hrnet-deploy .engine")
CONTENDERS: dict[str, Callable[[Cell], AbstractContextManager[Call]]] = {
    "hrnet-deploy .onnx": ours_onnx,
    "hrnet-deploy .engine": ours_engine,
    "plain ONNX Runtime": plain_onnxruntime,
    "torch eager": torch_call,
    "torch.compile": functools.partial(torch_call, compiled=True),
}


def table(rows: Sequence[dict[str, Any]], models: Sequence[str], batches: Sequence[int]) -> Table:
    """Tabulate a model and contender a row, a batch and precision a column."""
    columns = [(batch, precision.value) for batch in batches for precision in Precision]
    key = operator.itemgetter("model", "batch", "precision", "contender")
    medians = {key(row): row["median_ms"] for row in rows if "median_ms" in row}
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


def measure(cell: Cell, names: Sequence[str], seconds: float) -> Iterator[dict[str, Any]]:
    """Time the contenders of one column; yield the latency of each, or the reason for its absence."""
    with contextlib.ExitStack() as stack:
        calls = {}
        for name in names:
            try:
                call = stack.enter_context(CONTENDERS[name](cell))
                call()  # torch.compile compiles here, or fails
            except Exception as error:  # noqa: BLE001, PERF203 - one contender that breaks must not end the others
                known = isinstance(error, (LeftOutError, HrnetDeployError))
                text = str(error) if known else " ".join(f"{type(error).__name__}: {error}".split())[:200]
                yield {"contender": name, "left_out": text}
            else:
                calls[name] = call
        warm = [warm_up(call, limit_s=seconds) for call in calls.values()]
        samples = time_interleaved(list(calls.values()), seconds=seconds, warm_ups=warm)
        for name, times in zip(calls, samples, strict=True):
            median = round(Latency.of(times).median_ms, 4)
            yield {"contender": name, "median_ms": median, "samples": len(times)}


def graph(model: str, precision: Precision, args: argparse.Namespace, folder: Path) -> Path:
    """Export a model with random weights once."""
    batches: tuple[int, ...] = args.batches
    options: dict[str, Any] = {"batch": f"{min(batches)}:{sorted(batches)[len(batches) // 2]}:{max(batches)}"}
    if precision is Precision.INT8:
        calib = synthetic_photos(folder / "images")
        options |= {"calib_data": calib, "calib_images": 8, "qdq_target": "tensorrt", "remainder": "fp16"}

    def create(path: Path) -> None:
        size = args.models[model]
        export(model, weights="random", imgsz=size, precision=precision.value, output=path, **options)

    return created_once(folder / f"{model}_{precision.value}.onnx", create)


def run(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure everything that fits into the time; print each record as it comes."""
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    names = [name for name in CONTENDERS if not (args.no_compile and name == "torch.compile")]
    for model, precision, batch in itertools.product(args.models, PRECISIONS, args.batches):
        found: Iterable[dict[str, Any]] = [{"left_out": f"{args.limit:.0f} s are over"}]
        if time.perf_counter() - began <= args.limit:
            cell = Cell(model, graph(model, precision, args, folder), precision, batch, args.device)
            found = measure(cell, names, args.seconds)
        for one in found:
            rows.append({"model": model, "precision": precision.value, "batch": batch} | one)
            print(json.dumps(rows[-1]), flush=True)
    return rows


def parse_args() -> argparse.Namespace:
    """Read the command line; `models` gives the image size by name."""
    parser = script_parser(__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each contender and column (default 1)")
    parser.add_argument("--limit", type=float, default=1800, help="begin no column after so many s (default 1800)")
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
