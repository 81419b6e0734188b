"""What evaluating on executors costs and brings, beside one process with its own streams, in one run.

    python benchmarks/scaling.py ARTIFACT DATA [--images N] [--rounds N] [--out FILE]

Time: the images of DATA, repeated to N, through one process and through two workers of each engine that is installed,
interleaved; every engine is open and its workers have the model open. Start: opening the engine until the first round
ends, once. Overhead: chunks of 32 images whose records are ready, per 1,000 images. Driver: CPU time of the process
that hands out images and adds up records, with a journal; the slope over two numbers of images.

Goals: two local processes take at most 1.15 times the time of one process; the rest has no goal.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.util
import json
import math
import os
import pickle
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from comparison.table import Table

from hrnet_deploy import Predictor
from hrnet_deploy.evaluation import Dataset, Evaluation, EvaluationOptions, evaluate, find_dataset
from hrnet_deploy.evaluation.distribute import make_chunk, make_task
from hrnet_deploy.evaluation.loaded_model import open_models
from hrnet_deploy.evaluation.worker import ChunkResult, EvaluationChunk, evaluate_chunk
from hrnet_deploy.executors import open_executor, run_chunks
from hrnet_deploy.system.processor import model_name

_WORKERS = 2
ONE, PROCESSES = "one process", f"processes:{_WORKERS}"
_CHUNK = 32
_GOAL = 1.15


@contextlib.contextmanager
def engines() -> Iterator[dict[str, Executor | None]]:
    """Open every engine that is installed, with two workers on this machine."""
    with contextlib.ExitStack() as stack:
        names = {ONE: "", PROCESSES: PROCESSES}
        if importlib.util.find_spec("distributed"):
            from distributed import LocalCluster

            cluster = LocalCluster(n_workers=_WORKERS, threads_per_worker=1, dashboard_address=None)
            stack.enter_context(cluster)
            names["Dask"] = cluster.scheduler_address.replace("tcp", "dask")
        if importlib.util.find_spec("ray"):
            names["Ray"] = "ray://local"
        yield {title: stack.enter_context(open_executor(name or None)) for title, name in names.items()}


def ready(result: ChunkResult, _chunk: EvaluationChunk) -> ChunkResult:
    """Return a chunk's records without computing them."""
    return result


def overhead_ms(executor: Executor, result: ChunkResult, chunk: EvaluationChunk, images: int = 4000) -> float:
    """Time an engine alone: chunks out and records back, in milliseconds per 1,000 images."""
    work = functools.partial(ready, result)
    list(run_chunks(executor, work, [chunk] * 8))
    start = time.perf_counter()
    list(run_chunks(executor, work, [chunk] * (images // len(chunk.indices))))
    return 1e6 * (time.perf_counter() - start) / images


def repeated(data: Dataset, images: int) -> Dataset:
    """Repeat the images of a dataset up to a number."""
    samples = (data.samples * math.ceil(images / len(data)))[:images]
    return dataclasses.replace(data, samples=samples)


def driver_ms(artifact: Path, data: Dataset) -> float:
    """CPU time of the driver in milliseconds per 1,000 images; a Dask scheduler in this process would add its own."""
    taken = {}
    with open_executor(PROCESSES) as executor:
        evaluate(artifact, repeated(data, 2 * _CHUNK), executor=executor)
        for images in (len(data) // 4, len(data)):
            with tempfile.TemporaryDirectory() as journal:
                start = time.process_time()
                evaluate(artifact, repeated(data, images), executor=executor, journal=journal)
                taken[images] = time.process_time() - start
    (few, less), (many, more) = sorted(taken.items())
    return 1e6 * (more - less) / (many - few)


def one_chunk(artifact: Path, data: Dataset) -> tuple[ChunkResult, EvaluationChunk, Table]:
    """Evaluate one chunk here, and tabulate what moves for it."""
    with open_models([artifact], device="auto", backend="auto", threads=None) as loaded:
        task = make_task([loaded[0].info], data, EvaluationOptions())
    chunk = make_chunk(data, range(min(_CHUNK, len(data))))
    result = evaluate_chunk(task, chunk)
    table = Table("What moves, bytes an image", ("out: task and names", "back: records"))
    sizes = [len(pickle.dumps(value)) / len(chunk.indices) for value in ((task, chunk), result)]
    table.rows.append(tuple(f"{size:,.0f}" for size in sizes))
    return result, chunk, table


def measure(artifact: Path, data: Dataset, rounds: int) -> list[Table]:
    """Run every engine in every round, each round in the opposite order."""
    driver = driver_ms(artifact, data)
    result, chunk, moved = one_chunk(artifact, data)
    seconds: dict[str, list[float]] = {}
    digests = set()
    with engines() as opened:
        titles = list(opened)
        starts = {}
        for title in titles:
            start = time.perf_counter()
            evaluate(artifact, repeated(data, 2 * _CHUNK), executor=opened[title])
            starts[title] = time.perf_counter() - start
        for number in range(rounds):
            for title in titles if number % 2 == 0 else reversed(titles):
                found = evaluate(artifact, data, executor=opened[title])
                seconds.setdefault(title, []).append(found.run.seconds)
                digests.add(essence(found))
        costs = {title: overhead_ms(each, result, chunk) for title, each in opened.items() if each is not None}
    columns = ("", "images/s", "time / one process", "first 64 images s", "overhead ms per 1,000 images")
    table = Table(f"{len(data)} images, {rounds} rounds", columns)
    for title, taken in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(taken, seconds[ONE], strict=True))
        rate = len(data) / statistics.median(taken)
        cost = f"{costs[title]:.0f}" if title in costs else "-"
        table.rows.append((title, f"{rate:.1f}", f"{ratio:.2f}", f"{starts[title]:.1f}", cost))
    equal = "equal" if len(digests) == 1 else "NOT EQUAL"
    table.notes += [
        f"results of all rounds and engines are {equal}",
        f"goal: {PROCESSES} at most {_GOAL}",
        f"CPU time of the driver: {driver:.0f} ms per 1,000 images, with a journal",
    ]
    return [table, moved]


def essence(found: Evaluation) -> str:
    """Return all of an evaluation that must not depend on how it ran."""
    return json.dumps({key: value for key, value in found.to_dict().items() if key not in {"run", "inference_s"}})


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="an .onnx artifact")
    parser.add_argument("data", type=Path, metavar="DATA", help="labeled images, as for hrnet-report")
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="images of a round (default: 1000)")
    parser.add_argument("--rounds", type=int, default=4, metavar="N", help="rounds (default: 4)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file that the tables are added to (default: stdout)")
    return parser.parse_args(argv)


def main() -> int:
    """Measure, and print or write the tables."""
    args = parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    with Predictor(args.artifact) as predictor:
        data, backend = find_dataset(args.data, predictor.card), predictor.backend
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    tables = measure(args.artifact.absolute(), repeated(data, args.images), args.rounds)
    text = f"# Scaling: {args.artifact.stem} on {backend}\n\n" + "\n".join(table.markdown() for table in tables)
    text += (
        f"\n{time.strftime('%Y-%m-%d')}, {model_name() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"load before the run {load}, Python {platform.python_version()}.\n"
    )
    if args.out is None:
        print(text, end="")
    else:
        with args.out.open("a", encoding="utf-8") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
