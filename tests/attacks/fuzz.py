"""The fuzz suite: `PYTHONPATH=.:tests python -m attacks.fuzz --count 50000`, or `make fuzz COUNT=50000`.

Each input runs in a child with limits. Inputs with findings are kept in build/fuzz/FAMILY/SEED-NUMBER.
"""

import argparse
import collections
import contextlib
import functools
import gc
import importlib
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from attacks import seeds
from attacks.case import Case
from attacks.controls import CONTROLS, NATIVE, control_case
from attacks.execution import ROOT, SECONDS, Outcome, environment_of, execute, prepare_outside
from attacks.families import FAMILIES, make
from attacks.hardening import write_table
from tqdm import tqdm

_VARIES = r"'[^']*'?|/[^ ]*/|\\[xu][0-9a-f]+\S*|[0-9]{3,}|0x[0-9a-f]+|[0-9]+(?= (MiB|bytes))|[0-9.]+(?= s,)"
KEPT = ROOT / "build" / "fuzz"
COST = "\n## The cost of the checks\n"
"""Last section of the table's file; benchmarks/hardening_cost.py measures it, and a new table keeps it."""
_KEPT_PER_KIND = 5
_LIBRARY = "lookups.so"
_EVERY_PROGRAM = 100
"""One input of so many runs as a program of its own."""
_COMMANDS = ("predict", "export", "inspect", "bench", "report", "doctor", "models", "serve")
_LIGHT_IMPORTS = ("cv2", "onnx", "onnxruntime", *(f"hrnet_deploy.cli.{name}" for name in _COMMANDS))
_HEAVY_IMPORTS = ("torch", "openvino", "onnxsim", "safetensors.torch", "jinja2", "hrnet_deploy.export.run")
LIGHT_FAMILIES = frozenset(
    {"images", "labels", "videos", "sidecars", "plans", "tables", "lists", "shards", "journals", "names"}
)
"""Families that need no torch: a process without it forks in a third of the time."""


@dataclass
class Tally:
    """Counts of a family."""

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    programs: int = 0
    cpu_s: float = 0.0
    slowest_s: float = 0.0
    largest_bytes: int = 0
    findings: collections.Counter = field(default_factory=collections.Counter)
    groups: collections.Counter = field(default_factory=collections.Counter)

    def add(self, outcome: Outcome, *, is_program: bool) -> None:
        """Count one outcome."""
        self.inputs += 1
        self.programs += is_program
        self.accepted += outcome.code == 0 and not outcome.findings
        self.refused += outcome.code not in {0, None} and not outcome.findings
        self.slowest_s = max(self.slowest_s, outcome.seconds)
        self.largest_bytes = max(self.largest_bytes, outcome.peak_bytes)
        self.findings.update(outcome.findings.keys())


@functools.cache
def prepare(*, heavy: bool) -> None:
    """Import everything once, so that a fork only copies page tables."""
    for name in (*_LIGHT_IMPORTS, *(_HEAVY_IMPORTS if heavy else ())):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """Create a folder for cases, with the canaries that none may read."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        root = Path(folder).resolve()
        images = seeds.images()
        prepare_outside(root, {"secret.bin": bytes(4096), "secret.png": images["png"], "secret.txt": b"secret\n"})
        before = dict(os.environ)
        os.environ.update(environment_of(root))
        try:
            yield root
        finally:
            os.environ.clear()
            os.environ.update(before)


def lookup_library(folder: Path) -> Path | None:
    """Compile the library that notes native look-ups; None without a compiler."""
    if (loaded := os.environ.get("LD_PRELOAD", "")).endswith(_LIBRARY):
        return Path(loaded)
    if (compiler := shutil.which("cc")) is None:
        return None
    path = folder / _LIBRARY
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, ROOT / "tests" / "lookups.c", "-ldl"], check=True)
    return path


def fuzz(
    family: str, seed: int, numbers: range, root: Path, library: Path | None = None
) -> Iterator[tuple[int, Outcome, bool]]:
    """Run inputs of a family; keep the first of each kind of finding."""
    prepare(heavy=family not in LIGHT_FAMILIES)
    kept: collections.Counter = collections.Counter()
    for number in numbers:
        case = make(family, seed, number)
        is_program = library is not None and number % _EVERY_PROGRAM == 0 and not case.words[0].startswith("call:")
        outcome = execute(case, root, program=library if is_program else None)
        for kind in groups(outcome):
            kept[kind] += 1
            if kept[kind] <= _KEPT_PER_KIND:
                case.keep(KEPT / family / f"{seed}-{number}", outcome.findings | {"stderr": outcome.error[-4000:]})
        yield number, outcome, is_program


def groups(outcome: Outcome) -> list[str]:
    """Return what findings are counted under: their text without what differs from input to input."""
    texts = {kind: text.partition(" | ")[0] for kind, text in outcome.findings.items()}
    return [f"{kind}: {re.sub(_VARIES, 'N', text)[:90]}" for kind, text in texts.items()]


def _work(job: tuple[str, int, int, int]) -> tuple[str, Tally]:
    family, seed, start, stop = job
    tally = Tally()
    before = _cpu_s()
    with workplace() as root:
        library = lookup_library(root)
        try:
            for _, outcome, is_program in fuzz(family, seed, range(start, stop), root, library):
                tally.add(outcome, is_program=is_program)
                tally.groups.update(groups(outcome))
        except Exception as error:  # noqa: BLE001 - a fault of this suite must not end the run, nor pass as a success
            tally.groups[f"fault of this suite after {family} {seed}-{start + tally.inputs}: {error!r:.200}"] += 1
    tally.cpu_s = _cpu_s() - before
    return family, tally


def _cpu_s() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def _leave_interrupts() -> None:
    """Leave Ctrl-C to the parent, which writes the table of what is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def check_controls(root: Path) -> list[tuple[str, str, bool]]:
    """Run the positive controls; return description, kind, and whether its detector fired."""
    found = [(name, kind, kind in execute(control_case(name), root).findings) for name, (kind, _) in CONTROLS.items()]
    if library := lookup_library(root):
        for name, (kind, words) in NATIVE.items():
            case = Case(words=words, files={"model.onnx": seeds.model()})
            found.append((name, kind, kind in execute(case, root, program=library).findings))
    return found


def _preload() -> None:
    """Run this program again with the library, so that it watches native code of all children."""
    KEPT.mkdir(parents=True, exist_ok=True)
    if "LD_PRELOAD" not in os.environ and (library := lookup_library(KEPT)):
        words = [sys.executable, "-m", "attacks.fuzz", *sys.argv[1:]]
        os.execve(sys.executable, words, os.environ | {"LD_PRELOAD": str(library)})  # noqa: S606


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=50_000, help="inputs of all families together (default: 50000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", action="append", choices=FAMILIES, help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, help="write the table to this Markdown file")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="run a kept input again, and show what it does")
    return parser.parse_args()


def _replay(folder: Path) -> int:
    prepare(heavy=True)
    with workplace() as root:
        outcome = execute(Case.kept(folder), root)
        sys.stderr.write(outcome.error.encode("ascii", "backslashreplace").decode())
    print(
        json.dumps(
            {"code": outcome.code, "seconds": outcome.seconds, "MiB": outcome.peak_bytes >> 20, **outcome.findings},
            indent=1,
        )
    )
    return 1 if outcome.findings else 0


def main() -> int:
    """Run the suite; return 1 if anything was found, or a control was not."""
    args = _arguments()
    _preload()
    if args.replay:
        return _replay(args.replay)
    start = time.monotonic()
    families = args.family or list(FAMILIES)
    each = -(-args.count // len(families))
    step = min(25, each)
    jobs = [
        (family, args.seed, place, min(place + step, each)) for place in range(0, each, step) for family in families
    ]
    tallies: dict[str, list[Tally]] = {family: [] for family in families}
    prepare(heavy=False)
    with workplace() as root:
        controls = check_controls(root)
    try:
        with tqdm(total=each * len(families), unit="input") as bar:
            for family, tally in _outcomes(jobs, args.jobs):
                tallies[family].append(tally)
                bar.update(tally.inputs)
        note = ""
    except KeyboardInterrupt:
        note = "**Interrupted: this table holds the inputs that ran.** "
    seconds = time.monotonic() - start
    text, bad = write_table(tallies, controls, each=each, seed=args.seed, seconds=seconds, limit_s=SECONDS, note=note)
    print(text)
    if args.out:
        before = args.out.read_text() if args.out.exists() else ""
        args.out.write_text("".join((text, *before.partition(COST)[1:])))
    return 1 if bad or note else 0


def _outcomes(jobs: list[tuple[str, int, int, int]], processes: int) -> Iterator[tuple[str, Tally]]:
    for heavy in (False, True):  # in this order: a process forgets no import
        prepare(heavy=heavy)
        share = [job for job in jobs if (job[0] not in LIGHT_FAMILIES) == heavy]
        with multiprocessing.get_context("fork").Pool(processes, _leave_interrupts) as pool:
            yield from pool.imap_unordered(_work, share)


if __name__ == "__main__":
    raise SystemExit(main())
