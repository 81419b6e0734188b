"""Servers under test: started in a process group of their own, measured, and ended."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONNECTIONS = 8
LITSERVE = "litserve==0.2.19"
_START_S = 60.0
_FORM = "multipart/form-data; boundary=x"
_FORM_HEAD = (
    b'--x\r\nContent-Disposition: form-data; name="request"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
)


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        form: it takes the image as a file of a form, not as the body.
        ready_s: from the start of its process to the first 200 of its health route.
    """

    process: subprocess.Popen[bytes]
    port: int
    form: bool
    ready_s: float

    @property
    def content_type(self) -> str:
        """Content type of a request."""
        return _FORM if self.form else "image/jpeg"

    def body(self, image: bytes) -> bytes:
        """Return the body of a request."""
        return _FORM_HEAD + image + b"\r\n--x--\r\n" if self.form else image

    def sender(self) -> Callable[[bytes], bytes]:
        """Return a function that sends an image over one kept connection and returns the response's body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)

        def send(image: bytes) -> bytes:
            connection.request("POST", "/predict", self.body(image), {"Content-Type": self.content_type})
            response = connection.getresponse()
            content = response.read()
            if response.status != http.HTTPStatus.OK:
                raise RuntimeError(f"/predict responded {response.status}: {content!r:.200}")
            return content

        return send

    def images_per_second(self, bodies: Sequence[Path], seconds: float) -> float:
        """Load the server over `CONNECTIONS` connections of another process; `bodies` are files of whole bodies."""
        words = [str(self.port), "/predict", self.content_type, str(seconds), str(CONNECTIONS), *map(str, bodies)]
        script = str(HERE / "serving_load.py")
        done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=True)
        return float(done.stdout)

    def memory_mb(self) -> float:
        """Return the memory of all its processes in MB: shared pages are divided among those that share them."""
        return group_memory_mb(self.process.pid)


def hrnet_serve(artifact: Path, *options: str) -> contextlib.AbstractContextManager[Server]:
    """Start hrnet-serve with one model, "model"."""
    port = _free_port()
    words = [sys.executable, "-m", "hrnet_deploy", "serve", f"model={artifact}", "--port", str(port), "-q", *options]
    return _started(words, port, "/v2/health/ready", form=False)


def lit_serve(artifact: Path, *, threads: int, workers: int) -> contextlib.AbstractContextManager[Server]:
    """Start LitServe in an environment of its own, which the first call makes."""
    python = ROOT / "build" / "peers" / "litserve" / "bin" / "python"
    if not python.exists():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--python", sys.executable, str(python.parents[1])], check=True)
        packages = (LITSERVE, "numpy", "opencv-python-headless", "onnxruntime", "jinja2", "tqdm", "python-multipart")
        limits = ("-c", str(ROOT / "constraints.txt"))
        subprocess.run([*uv, "pip", "install", "--python", str(python), *packages, *limits], check=True)
    port = _free_port()
    script = str(HERE / "litserve_server.py")
    words = [str(python), script, str(artifact), str(port), str(threads), str(workers)]
    return _started(words, port, "/health", form=True)


def group_memory_mb(leader: int) -> float:
    """Return the proportional set size of all processes of a session, in MB."""
    total_kb = 0
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, IndexError):
            if folder.name.isdigit() and os.getsid(int(folder.name)) == leader:
                text = (folder / "smaps_rollup").read_text()
                total_kb += int(text.partition("\nPss:")[2].split()[0])
    return total_kb / 1e3


@contextlib.contextmanager
def _started(words: Sequence[str], port: int, health: str, *, form: bool) -> Iterator[Server]:
    """Start a server, wait until it is ready, and end its processes."""
    began = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while not _is_ready(port, health):
            if process.poll() is not None or time.perf_counter() - began > _START_S:
                raise RuntimeError(f"{words[1:4]} must start within {_START_S:.0f} s, got {process.poll()}.")
            time.sleep(0.02)
        yield Server(process, port, form, time.perf_counter() - began)
    finally:
        for sent in (signal.SIGTERM, signal.SIGKILL):  # LitServe leaves workers behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, sent)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)


def _is_ready(port: int, health: str) -> bool:
    """Ask the health route once."""
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
