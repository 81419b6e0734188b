"""Commands of this package in forked children, which may be killed at a time or before an operation on the disk."""

import contextlib
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_PRELOADED = (
    "torch", "onnx", "onnxsim", "onnxruntime", "openvino", "cv2", "jinja2", "hrnet_deploy.export.run",
    "hrnet_deploy.cli.export", "hrnet_deploy.cli.predict", "hrnet_deploy.cli.report", "hrnet_deploy.predictor",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """An ended command.

    Attributes:
        code: exit code; negative for the signal that ended it.
        err: stderr.
        operations: changes of names and openings for writing below the watched folder; -1 if it was killed.
        seconds: from its start to its end.
    """

    code: int
    err: str
    operations: int
    seconds: float


class Started:
    """A running command; `words` are those after `hrnet-`."""

    def __init__(self, words, watched, *, kill_before=0, file_bytes=None, environment=None):
        self._log = watched.parent / f"{watched.name}.stderr"
        self._log.unlink(missing_ok=True)
        os.mkfifo(self._log)  # a limit of file sizes does not limit a pipe
        self._reader = os.open(self._log, os.O_RDONLY | os.O_NONBLOCK)
        context = multiprocessing.get_context("forkserver")
        self._count = context.RawValue("i", -1)
        context.set_forkserver_preload(list(_PRELOADED))
        given = (list(map(str, words)), watched, self._log, self._count, kill_before, file_bytes, environment or {})
        self.process = context.Process(target=_run, args=given)
        self._began = time.monotonic()
        self.process.start()

    def signal_after(self, seconds, number=signal.SIGKILL):
        """Send a signal, unless the command has ended before."""
        self.process.join(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)
        return self

    def wait(self, limit_s=300):
        """Wait for the end."""
        self.process.join(limit_s)
        if self.process.is_alive():
            self.process.kill()
            raise TimeoutError(f"{self._log.stem} ran for more than {limit_s} s")
        parts = []
        while part := os.read(self._reader, 1 << 16):
            parts.append(part)
        os.close(self._reader)
        self._log.unlink()
        seconds = time.monotonic() - self._began
        return Ended(self.process.exitcode, b"".join(parts).decode(errors="replace"), self._count.value, seconds)


def run(words, watched, **options):
    """Run a command to its end."""
    return Started(words, watched, **options).wait()


def _run(words, watched, log, count, kill_before, file_bytes, environment):
    """Become the command: its streams, its limits, its arguments."""
    pipe = os.open(log, os.O_WRONLY)
    os.dup2(pipe, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    for key, value in environment.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value
    tempfile.tempdir = None
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    counted = _watch(watched, kill_before)
    os.chdir(watched)
    sys.argv = [f"hrnet-{words[0]}", *words[1:]]
    code = importlib.import_module(f"hrnet_deploy.cli.{words[0]}").main()
    count.value = counted[0]
    os._exit(code)


def _watch(folder, kill_before):
    """Count operations on the disk below a folder, and die before one of them; returns the count in a list."""
    counted, prefix = [0], os.fspath(Path(folder))

    def hook(event, given):
        writes = event == "open" and isinstance(given[2], int) and given[2] & _WRITING
        if (writes or event in _CHANGES) and _text(given[0]).startswith(prefix):
            counted[0] += 1
            if counted[0] == kill_before:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return counted


def _text(path):
    return str(Path(os.fsdecode(path)).absolute()) if isinstance(path, str | bytes | os.PathLike) else ""
