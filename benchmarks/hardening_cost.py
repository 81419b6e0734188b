"""What the checks of hostile inputs cost: CPU time of this checkout against that of an older one, in turns.

    python benchmarks/hardening_cost.py OLD_CHECKOUT MODEL.onnx [MODEL.onnx ...] [--rounds N] [--only WORD ...]
                                        [--out FILE.md] [--json]

Each round runs a child process per checkout and case, on one thread, in an order that alternates. The first model
predicts and opens, the others open. Goal: no case takes 3 % more.
"""

from __future__ import annotations

import itertools
import pickle
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from comparison.interleave import run_script
from comparison.report import write_text
from comparison.table import Table, print_result, script_parser
from safetensors.torch import load_file

from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.system.progress import bar

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = ROOT / "demo" / "hrnet_w18_small_v1_photos10.safetensors"
_GOAL = 0.03
_CHILD = """
import json, os, resource, subprocess, sys, time
from pathlib import Path
kind, path, *words = sys.argv[1:]
def children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
clock, repeats, calls = time.process_time, 1, 1
if kind == "load":
    from hrnet_deploy.models.checkpoints.load import load_checkpoint
    repeats, work = 7, lambda: load_checkpoint(Path(path))
elif kind in {"open", "start", "compile"}:
    from hrnet_deploy import Predictor
    # A file that passed is not checked again until it changes.
    work = lambda: (os.utime(path), Predictor(path, backend=words[0], threads=1, device="cpu"))
    repeats = 7 if kind == "open" else 0
elif kind == "predict":
    from hrnet_deploy import Predictor
    predictor = Predictor(path, backend="onnxruntime", threads=1, device="cpu")
    repeats, calls, work = 9, 20, lambda: predictor.predict(words[0])
elif kind == "decode":
    from hrnet_deploy.imaging.sources import read_frame
    repeats, calls, work = 15, 50, lambda: read_frame(path)
elif kind == "label":
    from hrnet_deploy.evaluation.datasets.cityscapes import read_label
    repeats, calls, work = 15, 50, lambda: read_label(Path(path), 19)
else:
    clock, command = children, [sys.executable, "-m", "hrnet_deploy", "predict", *words]
    work = lambda: subprocess.run(command, check=True, capture_output=True)
if not repeats:
    work()
    seconds = [clock()]
else:
    seconds = []
    for _ in range(repeats + (repeats > 1)):
        began = clock()
        for _ in range(calls):
            work()
        seconds.append((clock() - began) / calls)
    seconds = seconds[repeats > 1:]
print(json.dumps({"seconds": seconds}))
"""


def checkpoints(folder: Path) -> dict[str, Path]:
    """Write the demo's weights in each format of a file."""
    state = load_file(WEIGHTS)
    paths = {"safetensors": WEIGHTS} | {name: folder / name for name in ("zip.pth", "legacy.pth", "w18.pdparams")}
    torch.save(state, paths["zip.pth"])
    torch.save(state, paths["legacy.pth"], _use_new_zipfile_serialization=False)
    paths["w18.pdparams"].write_bytes(pickle.dumps({name: value.numpy() for name, value in state.items()}, 4))
    return paths


def images(folder: Path) -> dict[str, Path]:
    """Write images of three kinds, a label image and a folder of photos."""
    folder.joinpath("photos").mkdir()
    large, small = (synthetic_images(16, size) for size in ((375, 500), (64, 64)))
    paths = {name: folder / name for name in ("375x500.jpg", "64x64.jpg", "375x500.png")}
    for path, image in zip(paths.values(), (large[0], small[0], large[0]), strict=True):
        cv2.imwrite(str(path), image)
    for index, image in enumerate(large):
        cv2.imwrite(str(folder / "photos" / f"{index}.jpg"), image)
    cv2.imwrite(str(folder / "label.png"), np.random.default_rng(0).integers(0, 19, (512, 1024), np.uint8))
    return paths


def cases(folder: Path, models: list[Path]) -> dict[str, list[str]]:
    """Return the arguments of the child process of each case."""
    found = {f"load {name}": ["load", str(path)] for name, path in checkpoints(folder).items()}
    for model, backend in itertools.product(models, ("onnxruntime", "openvino")):
        for kind, title in (("open", "open"), ("start", "start and open"), ("compile", "start, empty cache")):
            found[f"{title} {model.stem} {backend}"] = [kind, str(model), backend]
    for name, path in images(folder).items():
        found[f"decode {name}"] = ["decode", str(path)]
        found[f"predict {name}"] = ["predict", str(models[0]), str(path)]
    found["decode a label image"] = ["label", str(folder / "label.png")]
    predict = ["command", "-", str(models[0]), str(folder / "photos")]
    found["hrnet-predict, 16 photos"] = predict
    found["hrnet-predict --save, 16 photos"] = [*predict, "--save", str(folder / "saved")]
    return found


def measure(words: list[str], sides: dict[str, Path], rounds: int, folder: Path) -> dict[str, list[float]]:
    """Run a case in turns; returns the seconds of each call by side."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for index, side in itertools.product(range(rounds), (0, 1)):
        name = list(sides)[(index + side) % 2]
        with tempfile.TemporaryDirectory(dir=folder) as empty:
            cache = empty if words[0] == "compile" else str(folder / f"cache_{name}")
            variables = {"PYTHONPATH": str(sides[name]), "OMP_NUM_THREADS": "1", "HRNET_DEPLOY_CACHE": cache}
            taken = run_script(_CHILD, *words, environment=variables).values["seconds"]
        times[name].append(statistics.median(taken))
    return times


def row(case: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """Compare the rounds of both sides."""
    ratios = sorted(new / old for new, old in zip(times["new"], times["old"], strict=True))
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 2 else (ratios[0], 0, ratios[-1])
    return {
        "case": case,
        "old_ms": 1e3 * statistics.median(times["old"]),
        "new_ms": 1e3 * statistics.median(times["new"]),
        "median": statistics.median(ratios),
        "spread": f"{low:.3f} to {high:.3f}",
        "minima": min(times["new"]) / min(times["old"]),
        "rounds": len(ratios),
    }


def table_of(rows: list[dict[str, Any]]) -> Table:
    """Tabulate the cases, and name those above the goal."""
    columns = {"case": "{case}", "old ms": "{old_ms:.3f}", "new ms": "{new_ms:.3f}", "new / old": "{median:.3f}"}
    columns |= {"middle half": "{spread}", "of the minima": "{minima:.3f}", "rounds": "{rounds}"}
    table = Table.of("CPU time of this version against the older one", columns, rows)
    above = [found["case"] for found in rows if found["median"] > 1 + _GOAL]
    table.notes.append(f"above {_GOAL:.0%}: {', '.join(above) or 'none'}")
    return table


def main() -> int:
    """Measure all cases and print a table, or JSON."""
    parser = script_parser(__doc__)
    parser.add_argument("old", type=Path, help="checkout of the older version")
    parser.add_argument("models", type=Path, nargs="+", help=".onnx files that both versions open")
    parser.add_argument("--rounds", type=int, default=9, help="child processes of each side (default: 9)")
    parser.add_argument("--only", nargs="+", default=[""], help="words, one of which a case begins with")
    parser.add_argument("--out", type=Path, help="Markdown to write")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    sides = {"old": args.old.resolve(), "new": ROOT}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        chosen = {
            case: words
            for case, words in cases(folder, [model.resolve() for model in args.models]).items()
            if case.startswith(tuple(args.only))
        }
        for words in chosen.values():  # fills the cache of compiled graphs
            if words[0] == "open":
                measure(words, sides, 1, folder)
        rows = []
        for case, words in bar(chosen.items()):
            rows.append(row(case, measure(words, sides, args.rounds, folder)))
            if args.out is not None:  # what is measured outlives an interruption
                write_text(args.out, table_of(rows).markdown())
    print_result(rows, [table_of(rows)], as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
