"""Create .venv and install this checkout into it with one extra; `make` does so before a target.

    python install.py demo

TORCH_INDEX names a package index for torch, in addition to pip's own indexes. The default is PyTorch's index of CPU
wheels, if it responds: on Linux, torch from the public registry brings gigabytes of CUDA. `none` adds no index.
A failure prints its cause first, then the whole output of pip.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from subprocess import PIPE, STDOUT

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
INDEX_TIMEOUT_S = 5.0
# NVIDIA's types of TensorRT, for the tests of its classic versions. Their dependencies are not on the registry.
WITHOUT_DEPENDENCIES = {"dev": "tensorrt-stubs==10.13.0.35.1"}


class InstallError(Exception):
    """The cause, in one line, and the output of the command that failed."""

    def __init__(self, cause: str, output: str = "") -> None:
        super().__init__(cause)
        self.output = output


def main() -> int:
    """Install the extra of the command line; return 0 for success, 1 for failure, 2 for wrong usage."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    extra = sys.argv[1]
    started = time.monotonic()
    note = ""
    try:
        index, note = torch_index()
        make_venv()
        show(f"Installing hrnet-deploy[{extra}] into .venv, once; torch comes from {index or 'where pip finds it'} ...")
        added = ["--extra-index-url", index] if index else []
        run_pip("--constraint", "constraints.txt", *added, "--editable", f".[{extra}]")
        if extra in WITHOUT_DEPENDENCIES:
            run_pip("--no-deps", WITHOUT_DEPENDENCIES[extra])
    except InstallError as error:
        show("")
        print(f"hrnet-deploy[{extra}] cannot be installed: {error}", file=sys.stderr)
        print(*filter(None, (note, error.output)), sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        show("")
        return 130
    show("")
    (VENV / f"{extra}.installed").touch()
    torch = torch_version()
    print(f"Installed hrnet-deploy[{extra}] into .venv in {time.monotonic() - started:.0f} s{torch}.")
    if note and "+cpu" not in torch:
        print(note)
    return 0


def show(text: str) -> None:
    """Replace the last line of a terminal; a file or a pipe gets no progress, so its first line is the cause."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}", end="", file=sys.stderr, flush=True)


def make_venv() -> None:
    """Create .venv unless it holds a Python with pip already."""
    if has_pip():
        return
    try:
        import ensurepip  # noqa: F401  # Debian and Ubuntu ship it apart from Python
        import venv  # noqa: F401
    except ImportError as error:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise InstallError(
            f"Python's venv module must be complete, got no module {error.name!r}. "
            f"On Debian and Ubuntu: apt install python{version}-venv. Elsewhere: make PYTHON=... names another Python."
        ) from None
    show("Making .venv ...")
    created = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, check=False)
    if created.returncode or not has_pip():
        output = created.stdout + created.stderr
        cause = cause_of(output) if created.returncode else "it holds no Python 3.10 or newer with pip"
        raise InstallError(f".venv cannot be made: {cause}. `make clean` removes what is there.", output)


def has_pip() -> bool:
    """Decide whether .venv holds a Python that this project can use, with pip."""
    command = [str(PYTHON), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 10))"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def torch_index() -> tuple[str, str]:
    """Choose the index to add for torch ("": none), and a note where that is not the default."""
    named = os.environ.get("TORCH_INDEX")
    if named is not None:
        if named in {"", "none"}:
            return "", ""
        if failure := index_failure(named):
            raise InstallError(f"TORCH_INDEX must answer, got {failure} from {named}. TORCH_INDEX=none does without.")
        return named, ""
    if sys.platform != "linux":  # elsewhere the public registry's torch has no CUDA
        return "", ""
    if failure := index_failure(CPU_INDEX):
        return "", f"{CPU_INDEX} did not answer ({failure}): torch comes from pip's own indexes."
    return CPU_INDEX, ""


def index_failure(index: str) -> str:
    """Request torch from an index; return "" if it responds in time, else the reason."""
    parts = urllib.parse.urlsplit(index.rstrip("/") + "/torch/")
    if parts.scheme not in {"http", "https"}:
        return "" if Path(urllib.request.url2pathname(parts.path)).is_dir() else "no folder for torch"
    url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    failures = [f"no answer in {INDEX_TIMEOUT_S:.0f} s"]

    def request() -> None:
        try:
            with urllib.request.urlopen(url, timeout=INDEX_TIMEOUT_S):
                failures.clear()
        except urllib.error.HTTPError as error:
            failures[:] = [] if error.code == 401 else [f"HTTP status {error.code}"]  # 401: pip has the password
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if not isinstance(reason, TimeoutError):
                failures[:] = [str(reason)]

    # The timeout of urlopen does not cover the name lookup, hence the thread.
    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(INDEX_TIMEOUT_S)
    return "".join(failures)


def run_pip(*arguments: str) -> None:
    """Run `pip install` in .venv and show its progress; print pip's errors even if pip succeeds."""
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off", *arguments]
    lines = []
    with subprocess.Popen(command, cwd=ROOT, stdout=PIPE, stderr=STDOUT, text=True, errors="replace") as process:
        for line in process.stdout or ():
            lines.append(line)
            show(line.strip())
    output = "".join(lines)
    if process.returncode:
        raise InstallError(cause_of(output), output)
    if unknown := re.search(r".* does not provide the extra .*", output):
        raise InstallError(unknown[0].removeprefix("WARNING: "), output)
    show("")
    print(*(line for line in lines if line.startswith("ERROR:")), sep="", end="", file=sys.stderr)


def cause_of(output: str) -> str:
    """Find the cause in the output of pip or venv, in one line."""
    if re.search(r"No space left on device|Disk quota exceeded|not enough space on the disk", output):
        return f"the disk is full: {ROOT}, or the temporary folder that TMPDIR names. Free some space"
    if conflict := re.search(r"The conflict is caused by:\n(.+?)\n\s*\n", output, re.DOTALL):
        return "no versions fit together: " + "; ".join(line.strip() for line in conflict[1].splitlines())
    missing = re.search(r"No matching distribution found for (.+)", output)
    broken = re.search(r"connection broken by (.+): /|Could not fetch URL \S+: (.+) - skipping", output)
    if broken and (not missing or "(from versions: none)" in output):
        detail = (broken[1] or broken[2]).rpartition(": ")[2].strip("()'\"")
        return f"no package index could be reached ({detail}). Check the network, HTTPS_PROXY and PIP_INDEX_URL"
    if missing:
        where = f"Python {sys.version_info[0]}.{sys.version_info[1]} on this platform"
        advice = ". Check the network and PIP_INDEX_URL" if "(from versions: none)" in output else ""
        return f"pip finds no {missing[1]} for {where}{advice}"
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no output"]
    errors = [line for line in lines if line.lower().startswith("error: ")]
    return (errors or lines)[-1].removeprefix("ERROR: ").removeprefix("error: ").removeprefix("Error: ")


def torch_version() -> str:
    """Read the version of torch in .venv for the last line; it names CUDA or CPU."""
    command = [str(PYTHON), "-c", "from importlib.metadata import version; print(', torch', version('torch'), end='')"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    sys.exit(main())
