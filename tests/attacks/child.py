"""The child process of one input: it runs the command under an audit hook that notes forbidden events."""

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attacks.calls import CALLS
from attacks.case import Case

CANARY_MODULE = "fuzz_canary_module"
"""Hostile files name this module; nothing else does."""
OUTSIDE = "outside"
"""Folder beside that of the case; its files are canaries."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
_RUNS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn"}
_PROGRAMS = {"nvidia-smi", "uname", Path(sys.executable).name}
_FOLDERS = ("HRNET_DEPLOY_CACHE", "XDG_CACHE_HOME", "HOME", "TMPDIR")
"""Variables with which a user names folders to write to."""
_LOCAL = {"127.0.0.1", "::1", "localhost"}
_NAMES_THAT_RUN = {"os", "posix", "nt", "subprocess", "sys", "builtins", "runpy", "pty", CANARY_MODULE}


class Watch:
    """An audit hook; it writes each forbidden event as a line to a file descriptor."""

    def __init__(self, descriptor: int, root: Path, named: tuple[str, ...], folders: Iterable[str]) -> None:
        self._descriptor = descriptor
        self._outside = os.fspath(root / OUTSIDE)
        own = (root / name for name in ("case", "cache", "tmp", "home"))
        self._writable = (*map(os.fspath, own), *(os.path.realpath(name) for name in folders))
        self._named = {os.path.abspath(name) for name in named if "\0" not in name}  # noqa: PTH100 - links stay
        self.active = True

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.active and (kind := self._kind(event, arguments)):
            os.write(self._descriptor, f"{kind}\t{event} {arguments!r:.200}\n".encode("utf-8", "backslashreplace"))

    def _kind(self, event: str, arguments: tuple[Any, ...]) -> str:
        if event == "open":
            path, _, flags = arguments
            return "" if isinstance(path, int) else self._escape(path, writes=bool((flags or 0) & _WRITES))
        if event in _CHANGES:
            return self._escape(arguments[0], writes=True)
        if event in _RUNS or (event == "subprocess.Popen" and Path(os.fsdecode(arguments[0])).name not in _PROGRAMS):
            return "executions"
        if event == "pickle.find_class" and arguments[0] in _NAMES_THAT_RUN and arguments[1] != "getattr":
            return "executions"
        if event == "import" and arguments[0] == CANARY_MODULE:
            return "executions"
        if event in {"socket.getaddrinfo", "socket.gethostbyname"} and arguments[0] not in _LOCAL:
            return "lookups"
        if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in _LOCAL:
            return "lookups"
        return ""

    def _escape(self, path: Any, *, writes: bool) -> str:
        try:
            whole = os.path.realpath(os.fsdecode(path))
        except (TypeError, ValueError):
            return ""
        inside = whole.startswith((*self._writable, "/dev/")) or whole in self._named
        return "escapes" if whole.startswith(self._outside) or (writes and not inside) else ""


def run(case: Case, root: Path, descriptor: int) -> int:
    """Run a case as its command would, and return the exit code."""
    os.chdir(root / "case")
    os.environ.update(case.environment)
    tempfile.tempdir = os.fspath(root / "tmp")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    watch = Watch(descriptor, root, case.words, filter(None, map(case.environment.get, _FOLDERS)))
    sys.addaudithook(watch)
    try:
        return call(case.words)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:  # noqa: BLE001 - as the interpreter would
        traceback.print_exc()
        return 1
    finally:
        watch.active = False
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def call(words: tuple[str, ...]) -> int:
    """Run a command, or one of `CALLS` as a command would run it."""
    import importlib

    name, *arguments = words
    if name.startswith("call:"):
        return CALLS[name.removeprefix("call:")](*arguments)
    sys.argv = [f"hrnet-{name}", *arguments]
    return importlib.import_module(f"hrnet_deploy.cli.{name}").main()
