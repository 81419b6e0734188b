"""Positive controls: a function that does what each detector looks for."""

import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from attacks.calls import CALLS
from attacks.case import Case
from attacks.child import CANARY_MODULE
from attacks.execution import BYTES

from hrnet_deploy.errors import UsageError


def _fails() -> int:
    return 1 // 0


def _crashes() -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def _hangs() -> int:
    time.sleep(60)
    return 0


def _spins() -> int:
    while True:
        pass


def _takes_memory() -> int:
    return len(b"x" * (BYTES + (256 << 20))) * 0


def _runs_a_shell() -> int:
    return os.system("touch marker")  # noqa: S605


def _unpickles() -> int:
    pickle.loads(b"cposix\ngetpid\n.")
    return 0


def _imports() -> int:
    try:
        __import__(CANARY_MODULE)
    except ImportError:
        return 0
    return 1


def _reads_outside() -> int:
    return len(Path("../outside/secret.bin").read_bytes()) * 0


def _follows_a_link() -> int:
    Path("link").symlink_to("../outside/secret.bin")
    return len(Path("link").read_bytes()) * 0


def _writes_outside() -> int:
    Path("../elsewhere").write_text("x")
    return 0


def _looks_up() -> int:
    try:
        socket.getaddrinfo("example.invalid", 80)
    except OSError:
        return 0
    return 1


def _connects() -> int:
    with socket.socket() as client:
        client.settimeout(0.1)
        try:
            client.connect(("192.0.2.1", 9))
        except OSError:
            return 0
    return 1


def _prints(text: str, code: int = 0) -> Callable[[], int]:
    def run() -> int:
        sys.stderr.buffer.write(text.encode("utf-8", "surrogateescape"))
        return code

    return run


def _raises_through_launch() -> int:
    raise UsageError("this error passed no console. Catch it.")


def _leaves_half() -> int:
    Path("out.onnx").write_bytes(b"half")
    print("hrnet-export: failed", file=sys.stderr)
    return 1


CONTROLS: dict[str, tuple[str, Callable[[], int]]] = {
    "an exception": ("tracebacks", _fails),
    "an error past the console": ("tracebacks", _raises_through_launch),
    "exit code 70": ("tracebacks", _prints("hrnet-predict: internal error\n", 70)),
    "SIGSEGV": ("crashes", _crashes),
    "a sleep of a minute": ("hangs", _hangs),
    "an endless loop": ("hangs", _spins),
    "2.25 GiB": ("memory", _takes_memory),
    "a shell": ("executions", _runs_a_shell),
    "a pickle that names posix": ("executions", _unpickles),
    "an import of the canary": ("executions", _imports),
    "a read of a canary": ("escapes", _reads_outside),
    "a read through a link": ("escapes", _follows_a_link),
    "a write beside the case": ("escapes", _writes_outside),
    "a look-up": ("lookups", _looks_up),
    "a connection": ("lookups", _connects),
    "ESC": ("controls", _prints("\x1b[31m\n")),
    "BEL": ("controls", _prints("\a\n")),
    "a control of C1": ("controls", _prints("\x9b31m\n")),
    "a direction mark": ("controls", _prints("\u202e\n")),
    "bytes that are no text": ("controls", _prints("\udcff\n")),
    "two lines of error": ("lines", _prints("hrnet-predict: one\ntwo\n", 1)),
    "an error without a line": ("lines", _prints("", 2)),
    "exit code 99": ("exit codes", _prints("hrnet-predict: no\n", 99)),
    "half an output": ("half", _leaves_half),
    "another prediction": ("wrong", lambda: 0),
}
"""By description: the kind that must be found, and the function that causes it."""
CALLS.update({f"control {name}": function for name, (_, function) in CONTROLS.items()})

NATIVE = {
    "a look-up that only the library sees": (
        "lookups",
        ("predict", "model.onnx", "http://example.invalid/a.png", "--allow-url"),
    ),
    "a canary that only the library sees": ("escapes", ("predict", "model.onnx", "../outside/secret.png")),
}
"""By description: the kind that must be found in a program of its own, and its words."""


def control_case(name: str) -> Case:
    """Return the case of a control."""
    kind = CONTROLS[name][0]
    return Case(
        words=(f"call:control {name}",),
        output="out.onnx" if kind == "half" else "",
        expected="cat" if kind == "wrong" else "",
    )
