"""What a server costs beside the bare Predictor, and beside LitServe, in one run.

    python benchmarks/serving.py [--seconds S] [--out FILE]

Latency: one connection, JPEG bytes to JSON, interleaved with `Predictor.predict` of the same bytes, one thread each.
Throughput: eight connections of another process, beside `Predictor.predict` of a list. Ready: process start to the
first 200. Memory: of the server's processes, less that of a process with the Predictor alone. Remote: a Predictor of
the server's URL beside a local one, on street frames.

Goals: latency at most 1.15 times `predict` (p10 and p95); added latency at most 0.9 times LitServe's; throughput at
least 0.9 times the list's; ready within 3 s; at most 150 MB beside the model; remote at most 1.3 times local.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from comparison.config import SHARED
from comparison.interleave import time_rounds
from comparison.served import CONNECTIONS, LITSERVE, ROOT, Server, group_memory_mb, hrnet_serve, lit_serve
from comparison.table import Table

from hrnet_deploy import Predictor, export
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.system.processor import model_name

OURS, THEIRS = "hrnet-serve", "LitServe"
STREET = {"": False, " of a graph with pixels in and labels out": True}
"""Whether the graph takes pixels and returns labels, by its name in a title."""
_PERCENTILES = (10, 95)
_ROUNDS = 5
_BARE = """
import sys
from hrnet_deploy import Predictor
predictor = Predictor(sys.argv[1], device="cpu", threads=1)
predictor.predict(open(sys.argv[2], "rb").read())
print("ready", flush=True)
sys.stdin.read()
"""


def latency(artifact: Path, images: Sequence[Path], seconds: float) -> list[Table]:
    """Time one connection to each server beside `predict`; also their memory and time to start."""
    contents = [path.read_bytes() for path in images]
    local = Predictor(artifact, device="cpu", threads=1)
    with hrnet_serve(artifact, "--threads", "1") as ours, lit_serve(artifact, threads=1, workers=1) as theirs:
        senders: dict[str, Callable[[bytes], object]] = {
            "predict": local.predict,
            OURS: ours.sender(),
            THEIRS: theirs.sender(),
        }
        turns = {name: itertools.cycle(contents) for name in senders}
        calls = {name: (lambda name=name: senders[name](next(turns[name]))) for name in senders}
        times = time_rounds(calls, seconds=seconds)
        start = _start_table({OURS: ours, THEIRS: theirs}, _bare_memory_mb(artifact, images[0]))
    found = {name: [1e3 * float(np.percentile(taken, p)) for p in _PERCENTILES] for name, taken in times.items()}
    columns = (
        "",
        "p10 ms",
        "p95 ms",
        "p10 / predict",
        "p95 / predict",
        "added p10 / LitServe's",
        "added p95 / LitServe's",
    )
    table = Table(f"Latency of one connection, {len(times['predict'])} rounds, one thread", columns)
    bare, slower = found["predict"], found[THEIRS]
    for name, figures in found.items():
        ratios = [f"{a / b:.2f}" for a, b in zip(figures, bare, strict=True)]
        added = [
            "" if name == "predict" else f"{(a - b) / (c - b):.2f}"
            for a, b, c in zip(figures, bare, slower, strict=True)
        ]
        table.rows.append((name, *(f"{figure:.2f}" for figure in figures), *ratios, *added))
    return [table, start]


def _start_table(servers: dict[str, Server], bare_mb: float) -> Table:
    table = Table("Start and memory", ("", "ready after s", "MB", "MB beside the Predictor"))
    for name, server in servers.items():
        used = server.memory_mb()
        table.rows.append((name, f"{server.ready_s:.2f}", f"{used:.0f}", f"{used - bare_mb:.0f}"))
    table.rows.append(("process with the Predictor alone", "", f"{bare_mb:.0f}", "0"))
    return table


def _bare_memory_mb(artifact: Path, image: Path) -> float:
    """Return the memory of a process that holds the Predictor and nothing else."""
    words = [sys.executable, "-c", _BARE, str(artifact), str(image)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, start_new_session=True) as process:
        if process.stdout is not None:
            process.stdout.readline()
        used = group_memory_mb(process.pid)
        process.kill()
    return used


def throughput(artifact: Path, images: Sequence[Path], folder: Path, seconds: float) -> Table:
    """Count images per second of eight connections, and of a list; medians of interleaved rounds."""
    contents = [path.read_bytes() for path in images]
    local = Predictor(artifact, device="cpu", streams=None)
    rates: dict[str, list[float]] = {"predict of a list": [], OURS: [], THEIRS: []}
    workers = len(os.sched_getaffinity(0))
    with hrnet_serve(artifact) as ours, lit_serve(artifact, threads=1, workers=workers) as theirs:
        bodies = {
            name: _write_bodies(folder / name, server, contents) for name, server in ((OURS, ours), (THEIRS, theirs))
        }
        for name, server in ((OURS, ours), (THEIRS, theirs)):
            server.images_per_second(bodies[name], 1)
        for _ in range(_ROUNDS):
            began, count = time.perf_counter(), 0
            while time.perf_counter() - began < seconds:
                count += len(local.predict(contents))
            rates["predict of a list"].append(count / (time.perf_counter() - began))
            rates[OURS].append(ours.images_per_second(bodies[OURS], seconds))
            rates[THEIRS].append(theirs.images_per_second(bodies[THEIRS], seconds))
    title = f"Throughput of {CONNECTIONS} connections ({THEIRS}: {workers} workers), {_ROUNDS} rounds of {seconds:g} s"
    table = Table(title, ("", "images / s", "/ list"))
    for name, figures in rates.items():
        ratio = statistics.median(a / b for a, b in zip(figures, rates["predict of a list"], strict=True))
        table.rows.append((name, f"{statistics.median(figures):.1f}", f"{ratio:.2f}"))
    return table


def _write_bodies(folder: Path, server: Server, contents: Sequence[bytes]) -> list[Path]:
    """Write whole bodies of requests for the clients' process."""
    folder.mkdir(parents=True)
    paths = [folder / str(index) for index in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(server.body(content))
    return paths


def remote(artifact: Path, images: Sequence[Path], seconds: float, title: str) -> Table:
    """Time a Predictor of the server's URL beside a local one, on decoded frames."""
    frames = [read_frame(path).image for path in images]
    local = Predictor(artifact, device="cpu")
    with hrnet_serve(artifact) as server, Predictor(f"http://127.0.0.1:{server.port}/v2/models/model") as served:
        turns = {"local": itertools.cycle(frames), "remote": itertools.cycle(frames)}
        times = time_rounds(
            {
                "local": lambda: local.predict(next(turns["local"])),
                "remote": lambda: served.predict(next(turns["remote"])),
            },
            seconds=seconds,
        )
        equal = sum(np.array_equal(local.predict(frame).mask, served.predict(frame).mask) for frame in frames)
    table = Table(title, ("", "p10 ms", "p95 ms", "median / local"))
    for name, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(taken, times["local"], strict=True))
        table.rows.append((name, *(f"{1e3 * np.percentile(taken, p):.1f}" for p in _PERCENTILES), f"{ratio:.2f}"))
    table.notes.append(f"{equal} of {len(frames)} masks equal")
    return table


def export_photos(output: Path) -> None:
    """Export the classifier in INT8."""
    export(
        "hrnet_w18_small_v1",
        weights=SHARED / "weights" / "hrnet_w18_small_v1_photos10.safetensors",
        classes=SHARED / "weights" / "photos10.txt",
        precision="int8",
        calib_data=SHARED / "data" / "photos" / "train",
        calib_images=64,
        output=output,
    )


def main() -> int:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, metavar="S", help="time of each table (default: 30)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="file of the tables (default: stdout)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the artifacts there, and use those of before")
    args = parser.parse_args()
    photos = sorted((SHARED / "data" / "photos" / "val").rglob("*.jpg"))[:20]
    frames = sorted((SHARED / "data" / "street" / "leftImg8bit" / "val").rglob("*.*"))[:8]
    with tempfile.TemporaryDirectory() as scratch:
        kept = args.keep or Path(scratch)
        artifact = kept / "photos_int8.onnx"
        if not artifact.exists():
            export_photos(artifact)
        tables = [*latency(artifact, photos, args.seconds)]
        tables.append(throughput(artifact, photos, Path(scratch, "bodies"), args.seconds / 10))
        for kind, whole in STREET.items():
            artifact = kept / f"street_{whole}.onnx"
            if not artifact.exists():
                weights = SHARED / "weights" / "hrnetv2_w18_small_v1_street.pth"
                export("hrnetv2_w18_small_v1", weights=weights, output=artifact, pixels_in=whole, labels_out=whole)
            tables.append(remote(artifact, frames, args.seconds / 2, f"Remote Predictor on street frames{kind}"))
    text = "# Serving\n\n" + "\n".join(table.markdown() for table in tables)
    text += (
        f"\n{time.strftime('%Y-%m-%d')}, {model_name() or platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}, {LITSERVE}. "
        "`python benchmarks/serving.py` repeats it; hrnet_w18_small_v1 in INT8 at 224x224 for images, "
        "hrnetv2_w18_small_v1 in FP32 for frames.\n"
    )
    if args.out is None:
        print(text, end="")
    else:
        args.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
