"""What a server costs beside the bare Predictor, and beside LitServe, in one run.

    python benchmarks/serving.py [--seconds S] [--out FILE]

Latency: one connection, JPEG bytes to JSON, interleaved with `Predictor.predict` of the same bytes. Throughput: eight
connections of another process, beside `Predictor.predict` of a list. Ready: process start to the first 200. Memory:
proportional set size of the server's processes, less that of a process with the bare Predictor. Remote: a Predictor of
the server's URL beside a local one, on street frames.

Goals: added latency at most 1.15 times `predict` (p10 and p95) and 0.9 times LitServe's; throughput at least 0.9 times
the list's; ready within 3 s; at most 150 MB beside the model; remote at most 1.3 times local.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from comparison.config import ROOT, SHARED
from comparison.interleave import time_rounds
from comparison.table import Table

from hrnet_deploy import Predictor, export
from hrnet_deploy.benchmark.timing import Latency
from hrnet_deploy.imaging.synthetic_images import synthetic_images

HERE = Path(__file__).resolve().parent
LITSERVE = "litserve==0.2.19"
CONNECTIONS = 8
_LOAD = """
import http.client, json, sys, threading, time
port, path, form, seconds, count = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "form", float(sys.argv[4]), int(sys.argv[5])
files = [open(name, "rb").read() for name in sys.argv[6:]]
sys.path.insert(0, sys.argv[0])
done, lock, end = 0, threading.Lock(), time.monotonic() + seconds
def body(content):
    if not form:
        return content, {"Content-Type": "image/jpeg"}
    head = b'--x\\r\\nContent-Disposition: form-data; name="request"; filename="a.jpg"\\r\\nContent-Type: image/jpeg\\r\\n\\r\\n'
    return head + content + b"\\r\\n--x--\\r\\n", {"Content-Type": "multipart/form-data; boundary=x"}
def client(start):
    global done
    connection, own = http.client.HTTPConnection("127.0.0.1", port), 0
    while time.monotonic() < end:
        connection.request("POST", path, *body(files[(start + own) % len(files)]))
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        own += 1
    with lock:
        done += own
threads = [threading.Thread(target=client, args=(i,)) for i in range(count)]
began = time.monotonic()
[t.start() for t in threads]
[t.join() for t in threads]
print(done / (time.monotonic() - began))
"""
_BARE = """
import sys
from hrnet_deploy import Predictor
predictor = Predictor(sys.argv[1], device="cpu")
predictor.predict(open(sys.argv[2], "rb").read())
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        path: path of its prediction route.
        form: it takes the image as a form's file, not as the body.
    """

    process: subprocess.Popen[bytes]
    port: int
    path: str
    form: bool
    ready_s: float

    def client(self) -> Callable[[bytes], bytes]:
        """Return a function that sends an image over one kept connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kind = "multipart/form-data; boundary=x" if self.form else "image/jpeg"
        head = b'--x\r\nContent-Disposition: form-data; name="request"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'

        def send(content: bytes) -> bytes:
            body = head + content + b"\r\n--x--\r\n" if self.form else content
            connection.request("POST", self.path, body, {"Content-Type": kind})
            response = connection.getresponse()
            found = response.read()
            if response.status != http.HTTPStatus.OK:
                raise RuntimeError(f"{self.path}: {response.status} {found!r:.200}")
            return found

        return send

    def throughput(self, files: Sequence[Path], seconds: float) -> float:
        """Return images per second over `CONNECTIONS` connections of another process."""
        words = [
            str(self.port),
            self.path,
            "form" if self.form else "body",
            str(seconds),
            str(CONNECTIONS),
            *map(str, files),
        ]
        done = subprocess.run([sys.executable, "-c", _LOAD, *words], capture_output=True, text=True, check=True)
        return float(done.stdout)


@contextlib.contextmanager
def started(words: Sequence[str], port: int, path: str, health: str, *, form: bool) -> Iterator[Server]:
    """Start a server in a process group of its own, wait until it is ready, and end the group."""
    began = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while not _is_ready(port, health):
            if process.poll() is not None or time.perf_counter() - began > 60:
                raise RuntimeError(f"{words[:3]} must start within 60 s, got exit code {process.poll()}.")
            time.sleep(0.02)
        yield Server(process, port, path, form, time.perf_counter() - began)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _is_ready(port: int, health: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", health)
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def hrnet_serve(artifact: Path, *options: str) -> contextlib.AbstractContextManager[Server]:
    """Start hrnet-serve."""
    port = _free_port()
    words = [sys.executable, "-m", "hrnet_deploy", "serve", f"model={artifact}", "--port", str(port), "-q", *options]
    return started(words, port, "/predict", "/v2/health/ready", form=False)


def lit_serve(artifact: Path, threads: int, workers: int) -> contextlib.AbstractContextManager[Server]:
    """Start LitServe in an environment of its own."""
    python = ROOT / "build" / "peers" / "litserve" / "bin" / "python"
    if not python.exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--python", sys.executable, str(python.parents[1])], check=True)
        ours = ("numpy", "opencv-python-headless", "onnxruntime", "jinja2", "tqdm")
        limits = ("-c", str(ROOT / "constraints.txt"))
        subprocess.run([*uv, "pip", "install", "--python", str(python), LITSERVE, *ours, *limits], check=True)
    port = _free_port()
    words = [
        str(python),
        str(HERE / "comparison" / "litserve_server.py"),
        str(artifact),
        str(port),
        str(threads),
        str(workers),
    ]
    return started(words, port, "/predict", "/health", form=True)


def memory_mb(group: int) -> float:
    """Return the proportional set size of all processes of a session, in MB."""
    total_kb = 0
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            if folder.name.isdigit() and os.getsid(int(folder.name)) == group:
                text = (folder / "smaps_rollup").read_text()
                total_kb += int(text.partition("\nPss:")[2].split()[0])
    return total_kb / 1e3


def bare_memory_mb(artifact: Path, image: Path) -> float:
    """Return the size of a process that holds the Predictor and nothing else."""
    words = [sys.executable, "-c", _BARE, str(artifact), str(image)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        size = memory_mb(process.pid)
        process.kill()
    return size


def measure_latency(artifact: Path, images: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """Time one connection on one thread; p10 and p95 in ms."""
    local = Predictor(artifact, device="cpu", threads=1)
    with hrnet_serve(artifact, "--threads", "1") as ours, lit_serve(artifact, 1, 1) as theirs:
        senders = {"predict": local.predict, "hrnet-serve": ours.client(), "LitServe": theirs.client()}
        turns = {name: itertools.cycle(images) for name in senders}
        calls = {name: (lambda send=send, turn=turns[name]: send(next(turn))) for name, send in senders.items()}
        times = time_rounds(calls, seconds=seconds)
        memory = {"hrnet-serve": memory_mb(ours.process.pid), "LitServe": memory_mb(theirs.process.pid)}
        ready = {"hrnet-serve": ours.ready_s, "LitServe": theirs.ready_s}
    percentiles = {name: [1e3 * float(np.percentile(t, p)) for p in (10, 95)] for name, t in times.items()}
    return {"ms": percentiles, "memory_mb": memory, "ready_s": ready, "rounds": len(times["predict"])}


def measure_throughput(artifact: Path, files: Sequence[Path], seconds: float) -> dict[str, float]:
    """Return images per second: the median of five interleaved rounds."""
    contents = [path.read_bytes() for path in files]
    local = Predictor(artifact, device="cpu", streams=None)
    found: dict[str, list[float]] = {"list": [], "hrnet-serve": [], "LitServe": []}
    cores = len(os.sched_getaffinity(0))
    with hrnet_serve(artifact) as ours, lit_serve(artifact, 1, cores) as theirs:
        for server in (ours, theirs):
            server.throughput(files, 1)
        for _ in range(5):
            began, count = time.perf_counter(), 0
            while time.perf_counter() - began < seconds:
                count += len(local.predict(contents))
            found["list"].append(count / (time.perf_counter() - began))
            found["hrnet-serve"].append(ours.throughput(files, seconds))
            found["LitServe"].append(theirs.throughput(files, seconds))
    rates = {name: statistics.median(rates) for name, rates in found.items()}
    for name in ("hrnet-serve", "LitServe"):
        rates[f"{name} / list"] = statistics.median(a / b for a, b in zip(found[name], found["list"], strict=True))
    return rates


def measure_remote(artifact: Path, frames: Sequence[Any], seconds: float) -> dict[str, Any]:
    """Time a remote Predictor beside a local one on the same frames."""
    local = Predictor(artifact, device="cpu")
    with hrnet_serve(artifact) as server, Predictor(f"http://127.0.0.1:{server.port}/v2/models/model") as remote:
        turns = {"local": itertools.cycle(frames), "remote": itertools.cycle(frames)}
        calls = {
            "local": lambda: local.predict(next(turns["local"])),
            "remote": lambda: remote.predict(next(turns["remote"])),
        }
        times = time_rounds(calls, seconds=seconds)
        equal = all(np.array_equal(local.predict(f).mask, remote.predict(f).mask) for f in frames)
    latency = {name: Latency.of(t).median_ms for name, t in times.items()}
    return latency | {"ratio": statistics.median(b / a for a, b in zip(*times.values(), strict=True)), "equal": equal}
