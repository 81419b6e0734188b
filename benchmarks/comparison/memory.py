"""Peak memory of each command that a user runs, each in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from comparison.config import MODELS, SHARED, Config, Key, Record, Records, log
from comparison.interleave import run_script
from comparison.table import Table
from hrnet_deploy.imaging.synthetic_images import synthetic_images

EXPORT, PREDICT, CALIBRATE, EVALUATE = "export", "predict", "calibrate", "evaluate"
_STREET = "1024x2048"
_SCRIPTS = {
    EXPORT: """
import sys
from hrnet_deploy import export
export(sys.argv[1], weights="random", imgsz=sys.argv[2], output=sys.argv[3])
""",
    PREDICT: """
import sys
from hrnet_deploy import Predictor
for _ in Predictor(sys.argv[1], device="cpu").predict(sys.argv[2], stream=True, batch=int(sys.argv[3])): pass
""",
    CALIBRATE: """
import sys
from hrnet_deploy import export
export(sys.argv[1], weights="random", imgsz=sys.argv[2], output=sys.argv[3], precision="int8", calib_data=sys.argv[4],
       calib_images=64, allow_val=True)
""",
    EVALUATE: """
import sys
from hrnet_deploy.evaluation import evaluate
evaluate(sys.argv[1], sys.argv[2], limit=64, batch=8, device="cpu")
""",
}
_WORDS = {
    PREDICT: "predict 32 JPEGs, batch 8",
    CALIBRATE: "calibrate on 64 images and export INT8",
    EVALUATE: "evaluate 64 images, batch 8",
}


def keys(names: Sequence[str], *, quick: bool) -> list[Key]:
    """Return (model, size, command)."""
    name, size = names[0], "{}x{}".format(*MODELS[names[0]])
    usual: list[Key] = [(name, size, what) for what in (EXPORT, PREDICT, CALIBRATE, EVALUATE)]
    wide: list[Key] = [("hrnetv2_w48", _STREET, what) for what in (EXPORT, PREDICT)]
    return usual if quick else [*usual, ("hrnet_w64", "224x224", EXPORT), *wide]


def measure(config: Config, key: Key) -> Record:
    """Run one command; an earlier process creates what it needs."""
    name, size, what = key
    height, width = (int(side) for side in size.split("x"))
    # Other suites use the plain name for the same model with other weights.
    path = config.artifact_path(name, "int8" if what == CALIBRATE else "fp32", (height, width), "memory")
    path.parent.mkdir(parents=True, exist_ok=True)
    exporting = (name, size, str(path))
    words: dict[str, tuple[str, ...]] = {EXPORT: exporting, CALIBRATE: (*exporting, str(config.data))}
    if what in {PREDICT, EVALUATE}:
        if not path.exists():
            log(f"memory {' '.join(key)}: exports first")
            run_script(_SCRIPTS[EXPORT], *exporting)
        source, batch = (_street(config), "1") if size == _STREET else (config.photos(32), "8")
        classes = SHARED / "data" / "imagenet" / "val"  # with one folder of images a class
        labeled = classes if classes.is_dir() else config.data
        words |= {PREDICT: (str(path), str(source), batch), EVALUATE: (str(path), str(labeled))}
    # A calibration table of an earlier run would spare the work.
    path.with_suffix(".calib.json").unlink(missing_ok=True)
    log(f"memory {' '.join(key)}: measures")
    return {"mib": round(run_script(_SCRIPTS[what], *words[what]).peak_mib), "notes": []}


def table(records: Records) -> Table:
    """Tabulate one process a row."""
    lines = Table("Memory", ("command", "model", "size", "peak MiB"))
    for (name, size, what), record in records.items():
        text = "predict one image" if (what, size) == (PREDICT, _STREET) else _WORDS.get(what, what)
        lines.rows.append((text, name, size, str(record["mib"])))
    return lines


def _street(config: Config) -> Path:
    """Return one image of a street camera's size."""
    path = config.folder / "street.png"
    if not path.exists():
        cv2.imwrite(str(path), synthetic_images(1, (1024, 2048))[0])
    return path
