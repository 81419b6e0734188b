"""Execution of cases in children with limits, and the judgment of what they did."""

import contextlib
import ctypes
import logging
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attacks.case import Case
from attacks.child import OUTSIDE, run

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10
BYTES = 2 << 30
_ADDRESS_BYTES = 12 << 30
"""Address space beyond that of the parent: it stops an allocation that grows faster than it is watched."""
_POLL_MS = 10
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
_EXIT_CODES = {0, 1, 2, 3, 130}
_MARKERS = ("case/marker", "outside/marker", "tmp/marker")
_OTHER_MARKS = re.compile("[\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Outcome:
    """What a case did.

    Attributes:
        code: exit code; None where a signal ended the child.
        findings: kinds of fault, each with its evidence.
    """

    code: int | None
    seconds: float
    peak_bytes: int
    findings: dict[str, str]
    error: str = ""


def execute(case: Case, root: Path, *, program: Path | None = None) -> Outcome:
    """Run a case in a new folder `root`/case, in a fork of this process.

    With `program`, a library that is preloaded and notes native look-ups, it runs as a program of its own instead.
    """
    _prepare(root)
    case.write(root / "case")
    events = root / "events"
    events.write_bytes(b"")
    with events.open("ab") as log, (root / "stdout").open("wb") as out, (root / "stderr").open("wb") as err:
        if program is None:
            start = _forked(lambda: run(case, root, log.fileno()), out.fileno(), err.fileno())
        else:
            start = _program(case, root, program, out.fileno(), err.fileno())
        code, seconds, peak, killed = _watch(*start)
    findings = {killed: f"{seconds:.1f} s, {peak >> 20} MiB"} if killed else {}
    texts = [(root / name).read_bytes() for name in ("stdout", "stderr")]
    for line in events.read_text("utf-8", "replace").splitlines():
        kind, tab, evidence = line.partition("\t")
        native = "escapes" if line.startswith("canary ") else "lookups"
        findings.setdefault(*((kind, evidence) if tab else (native, line)))
    if any((root / name).exists() for name in _MARKERS):
        findings.setdefault("executions", "a marker was created")
    if not killed:
        findings |= _judge(case, root / "case", code, *texts)
    return Outcome(code, seconds, peak, findings, texts[1].decode("utf-8", "backslashreplace"))


def _prepare(root: Path) -> None:
    for path in root.glob("case/**/*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    for name in ("case", "tmp"):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("case", "tmp", "cache", "home", OUTSIDE):
        (root / name).mkdir(parents=True, exist_ok=True)


def prepare_outside(root: Path, files: dict[str, bytes]) -> None:
    """Write the canaries, which no case may read."""
    _prepare(root)
    for name, content in files.items():
        (root / OUTSIDE / name).write_bytes(content)


def environment_of(root: Path) -> dict[str, str]:
    """Return the variables of cases: their own folders, and what the preloaded library needs."""
    own = {"HOME": "home", "TMPDIR": "tmp", "HRNET_DEPLOY_CACHE": "cache", "LOOKUPS": "events", "CANARIES": OUTSIDE}
    return {"OMP_NUM_THREADS": "1"} | {name: str(root / folder) for name, folder in own.items()}


def _forked(body: Callable[[], int], out: int, err: int) -> tuple[int, int]:
    baseline = _memory(os.getpid(), "RssAnon")  # a fork maps no pages of files
    address_bytes = _memory(os.getpid(), "VmSize") + _ADDRESS_BYTES
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid, baseline
    code = 1
    try:
        os.setsid()
        _end_with_parent()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        # As the interpreter opens them: those of a test runner lead elsewhere.
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        logging.root.handlers.clear()
        resource.setrlimit(resource.RLIMIT_AS, (address_bytes, address_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (6 * SECONDS, 6 * SECONDS))
        code = body()
    finally:
        os._exit(code & 0xFF)


def _end_with_parent() -> None:
    """Let the system end this process with its parent: an endless loop must not outlive a harness that is killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _program(case: Case, root: Path, program: Path, out: int, err: int) -> tuple[int, int]:
    environment = os.environ | environment_of(root) | case.environment
    environment |= {"LD_PRELOAD": str(program), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "hrnet_deploy", *case.words],
        cwd=root / "case",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call, no lock
    )
    return process.pid, 0


def _watch(pid: int, baseline: int) -> tuple[int | None, float, int, str]:
    """Wait for a child; kill it, and all it started, where it exceeds a limit."""
    start, killed, peak = time.monotonic(), "", 0
    waiting = select.poll()
    descriptor = os.pidfd_open(pid)
    waiting.register(descriptor, select.POLLIN)
    while not waiting.poll(_POLL_MS):
        peak = max(peak, _memory(pid, "VmHWM") - baseline)
        late = time.monotonic() - start > SECONDS and time.monotonic() - start - _waited_s(pid) > SECONDS
        killed = "memory" if peak > BYTES else "hangs" if late else ""
        if killed:
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.close(descriptor)
    _, status, usage = os.wait4(pid, 0)
    peak = max(peak, usage.ru_maxrss * 1024 - baseline)
    if not killed and peak > BYTES:
        killed = "memory"
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    return code, time.monotonic() - start, peak, killed


def _waited_s(pid: int) -> float:
    """Return how long a process was ready and got no core: other programs must not look like a hang."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return 0.0


def _memory(pid: int, name: str) -> int:
    with contextlib.suppress(OSError):
        found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0
    return 0


def _judge(case: Case, folder: Path, code: int, out: bytes, err: bytes) -> dict[str, str]:
    findings: dict[str, str] = {}
    text = err.decode("utf-8", "surrogateescape")
    shown = out.decode("utf-8", "surrogateescape")
    if code < 0:
        findings["crashes"] = f"{signal.Signals(-code).name}: {text[-200:]}"
    elif "Traceback (most recent call last)" in text or code == 70 or "internal error" in text:
        findings["tracebacks"] = _place(text)
    elif code not in _EXIT_CODES:
        findings["exit codes"] = f"{code}: {text[-200:]}"
    elif code and (fault := _not_one_line(text)):
        findings["lines"] = fault
    elif not code and case.expected not in shown:
        findings["wrong"] = shown[:200]
    if control := next((c for c in shown + text.replace("\r", "") if _controls(c)), ""):
        line = next(line for line in (shown + text).split("\n") if control in line)
        place = line.index(control)
        findings["controls"] = f"{ascii(line[:50])[1:-1]} | ... {line[max(0, place - 60) : place + 30]!a}"
    if case.output and code and (folder / case.output).is_file():
        findings["half"] = f"{case.output} has {(folder / case.output).stat().st_size} bytes after exit code {code}"
    return findings


def _controls(character: str) -> bool:
    kind = unicodedata.category(character)
    return (kind in {"Cc", "Cs"} and character not in "\n\t") or bool(_OTHER_MARKS.match(character))


def _not_one_line(text: str) -> str:
    """Return what stderr holds beside one line for the error and lines of the command itself."""
    lines = [line.rpartition("\r")[2] for line in text.split("\n") if line.strip()]
    if not lines:
        return "an error without a line"
    own = [line for line in lines if line.startswith(("hrnet-", "hrnet_deploy", "Next: ", "usage: "))]
    foreign = [line for line in lines if line not in own and not re.match(r"\d+ images ", line) and "it/s" not in line]
    return f"not of the command: {foreign[0]:.200}" if foreign else ""


def _place(text: str) -> str:
    """Return the last own frame and the exception of a traceback, by which faults are grouped."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', text)
    own = [f"{Path(name).relative_to(ROOT)}:{line}" for name, line in frames if Path(name).is_relative_to(ROOT)]
    last = [line for line in text.splitlines() if line and not line.startswith((" ", "\t"))]
    kind, _, message = (last[-1] if last else "").partition(": ")
    return f"{own[-1] if own else frames[-1] if frames else '?'} {kind} | {message:.160}"
