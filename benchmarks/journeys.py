"""The time of a new user's three journeys, from a clean clone to the result.

    python benchmarks/journeys.py [--torch-index none] [--out benchmarks/results/journeys.md]

Each journey clones this repository, makes a virtual environment, installs the extras that its pages name, and types the
commands of these pages, in their order. The images are those of ../shared/data, the weights those of demo/.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hrnet_deploy.system.load_snapshot import describe, take_snapshot
from hrnet_deploy.system.text_table import Table

ROOT = Path(__file__).resolve().parents[1]
_STREET = "hrnet-export --weights street.pth --no-align-corners --imgsz 360x480"
_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Journey:
    """A way through the handbook: its pages, each linked from the one before, their extras and their commands."""

    title: str
    pages: tuple[str, ...]
    extras: str
    commands: tuple[str, ...]


JOURNEYS = (
    Journey(
        "a timm file to FP16 on a CPU",
        ("README.md", "docs/start.md", "docs/recipes/timm.md", "docs/guides/cpu.md"),
        "export,openvino",
        (
            "hrnet-export --weights hrnet_w18_small.ms_in1k/model.safetensors --precision fp16 -o fp16.onnx",
            "hrnet-predict fp16.onnx photos",
            "hrnet-doctor",
        ),
    ),
    Journey(
        "an own segmentation checkpoint to INT8 with a report",
        ("README.md", "docs/guides/checkpoint.md", "docs/guides/int8.md", "docs/guides/report.md"),
        "export,openvino",
        (
            f"{_STREET} -o street.onnx",
            f"{_STREET} --precision int8 --calib-data cityscapes --calib-images 40 -o street_int8.onnx",
            "hrnet-report street.onnx street_int8.onnx --data cityscapes --out report",
        ),
    ),
    Journey(
        "an engine for a T4, built without a GPU",
        ("README.md", "docs/install.md", "docs/guides/tensorrt.md"),
        "export,cpu,tensorrt-rtx",
        (
            "hrnet-doctor --target t4",
            "hrnet-export --weights w18.pth --precision fp16 -o w18_fp16.onnx",
            "hrnet-export w18_fp16.onnx --target t4 -o w18_t4.engine",
            "hrnet-inspect w18_t4.engine",
        ),
    ),
)


def main() -> None:
    """Time every journey and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--torch-index", default=_TORCH_INDEX, help='where pip finds torch for CPUs; "none": where it looks by itself'
    )
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    make_inputs = importlib.import_module("helpers.docs_world").make_inputs

    before = take_snapshot()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        make_inputs(inputs)
        for number, journey in enumerate(JOURNEYS):
            rows += _walk(journey, Path(folder) / str(number), inputs, args.torch_index)
    table = Table(("journey", "step", "s"), rows, ("journey", "step"))
    notes = [f"- {line}" for line in describe(before, take_snapshot())]
    notes.append(
        f"- torch comes from {'where pip looks by itself' if args.torch_index == 'none' else args.torch_index}"
    )
    pages = [f"- {journey.title}: {', '.join(journey.pages)}" for journey in JOURNEYS]
    text = "\n".join(["# A new user's journeys", "", *notes, *pages, "", *table.markdown(), ""])
    print(text)
    if args.out is not None:
        args.out.write_text(text, encoding="utf-8")


def _walk(journey: Journey, folder: Path, inputs: Path, torch_index: str) -> list[tuple[str, str, str]]:
    """Clone, install, and type the commands; one row per step and one for the sum."""
    folder.mkdir()
    python = folder / "clone" / ".venv" / "bin" / "python"
    words = {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder)}
    environment = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}} | words
    index = [] if torch_index == "none" else ["--extra-index-url", torch_index]
    steps = [
        (["git", "clone", "-q", str(ROOT), str(folder / "clone")], folder, "git clone"),
        ([sys.executable, "-m", "venv", str(python.parents[1])], folder, "python -m venv"),
        (
            [str(python), "-m", "pip", "install", "-q", "-c", "constraints.txt", f".[{journey.extras}]", *index],
            folder / "clone",
            f"pip install '.[{journey.extras}]'",
        ),
        *((command.split(), inputs, command) for command in journey.commands),
    ]
    rows, total = [], 0.0
    for command, where, shown in steps:
        began = time.perf_counter()
        subprocess.run(command, cwd=where, env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        total += seconds
        rows.append(("", shown, f"{seconds:.1f}"))
    return [(journey.title, "all", f"{total:.1f}"), *rows]


if __name__ == "__main__":
    main()
