"""A real Triton 2.51 (24.10) without a GPU, out of the nvidia-pytriton wheel.

The wheel holds the server and its python backend. Python-based backends named like the C++ ones (`triton_backends`)
let the server's own core load a repository as it is.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import onnxruntime
import pytest
from helpers.peer_environment import ROOT, peer_python

# numpy 2 breaks the wheel's python backend: its outputs are empty. OpenCV from 4.12 needs numpy 2.
# ONNX Runtime is that of the tests, so that it computes the same values.
REQUIREMENTS = (
    *("nvidia-pytriton==0.7.0", "numpy<2", "opencv-python-headless<4.12", "jinja2", "tqdm"),
    f"onnxruntime=={onnxruntime.__version__}",
)
BACKENDS = Path(__file__).parent / "triton_backends"
READY_WITHIN_S = 60


class TritonServer:
    """A running server.

    Attributes:
        url: base URL, such as "http://127.0.0.1:8000".
        repository: the model repository that it serves.
        log: file of what it printed.
    """

    def __init__(self, url, repository, log):
        self.url, self.repository, self.log = url, repository, log

    def model_url(self, name):
        return f"{self.url}/v2/models/{quote(name, safe='')}"

    def load(self, name):
        """Load a model, or load it again; the error is Triton's sentence."""
        self._control(name, "load")

    def unload(self, name):
        self._control(name, "unload")

    def get(self, path):
        """JSON of a GET under the base URL, such as "v2/models/w18/config"."""
        return json.loads(self._request(path)[0])

    def get_index(self):
        """Every model that the server knows, with its versions and states."""
        return json.loads(self.post("v2/repository/index", b"{}")[0])

    def is_ready(self, name):
        """Whether a model, or "NAME/versions/N", is ready."""
        try:
            self._request(f"v2/models/{quote(name)}/ready")
        except TritonError:
            return False
        return True

    def post(self, path, body, headers=()):
        """(body, headers) of the reply."""
        return self._request(path, body, dict(headers))

    def _control(self, name, action):
        self._request(f"v2/repository/models/{quote(name, safe='')}/{action}", b"{}")

    def _request(self, path, body=None, headers=None):
        request = urllib.request.Request(f"{self.url}/{path}", body, headers or {})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=READY_WITHIN_S) as reply:  # noqa: S310
                return reply.read(), reply.headers
        except urllib.error.HTTPError as error:
            content = error.read()
            raise TritonError(error.code, json.loads(content)["error"] if content else "") from None


class TritonError(Exception):
    """An HTTP status and Triton's sentence."""

    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status = status


@contextlib.contextmanager
def triton_server(repository, scratch, *options):
    """Run a server on free ports until the block ends.

    `options` are Triton's, such as "--model-control-mode=poll"; `scratch` is an empty folder for its backends and log.
    """
    python = peer_python("triton", *REQUIREMENTS)
    packages = next((python.parents[1] / "lib").glob("python3*/site-packages"))
    # The stubs ignore PYTHONPATH; they find the environment by its `python3` on the PATH.
    (packages / "checkout.pth").write_text(f"{ROOT}\n")
    backends = _backends(packages / "pytriton" / "tritonserver", scratch)
    log = scratch / "triton.log"
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join([str(packages / "nvidia_pytriton.libs"), *_python_library()]),
        "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    ports = _free_ports(3)
    words = [
        *(packages / "pytriton" / "tritonserver" / "bin" / "tritonserver", "--http-address=127.0.0.1"),
        *("--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1", "--exit-timeout-secs=5"),
        *(f"--{kind}-port={port}" for kind, port in zip(("http", "grpc", "metrics"), ports, strict=True)),
        *(f"--model-repository={repository}", f"--backend-directory={backends}", "--exit-on-error=false", *options),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            server = TritonServer(f"http://127.0.0.1:{ports[0]}", Path(repository), log)
            _wait_until_live(server, process)
            yield server
        finally:
            _end(process)


def _python_library():
    """Folders of this Python's shared library, which the stubs load; skips where there is none."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    folder = sysconfig.get_config_var("LIBDIR") or ""
    if Path(folder, name).exists():
        return [folder]
    try:
        ctypes.CDLL(name)
    except OSError:
        pytest.skip(f"not installed: {name}, which Triton's python backend loads (Debian: libpython3-dev)")
    return []


def _backends(triton, scratch):
    """Folder of backends: the wheel's python backend with the stub for this Python, and the stand-ins."""
    folder = shutil.copytree(BACKENDS, scratch / "backends")  # Triton refuses links that leave the folder
    shutil.copytree(triton / "backends" / "python", folder / "python")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(triton / "python_backend_stubs" / version / "triton_python_backend_stub", folder / "python")
    return folder


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_until_live(server, process):
    """Wait for the server, not for its models: a refused model keeps `v2/health/ready` from succeeding."""
    end = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            server.post("v2/repository/index", b"{}")
            return
        time.sleep(0.05)
    raise RuntimeError(f"Triton did not start: {server.log.read_text(errors='replace')[-2000:]}")


def _end(process):
    """End the server, and its python stubs where it does not end them within its time."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
