"""Peak resident set of each thing a user does, each in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from contest.child import child
from contest.section import Key, Record, Records
from contest.setting import NETS, SHARED, Setting, say
from contest.table import Table
from hrnet_deploy.probe import probe_images

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
    """(net, size, what)."""
    name, size = names[0], "{}x{}".format(*NETS[names[0]])
    usual: list[Key] = [(name, size, what) for what in (EXPORT, PREDICT, CALIBRATE, EVALUATE)]
    wide: list[Key] = [
        ("hrnet_w64", "224x224", EXPORT),
        *(("hrnetv2_w48", _STREET, what) for what in (EXPORT, PREDICT)),
    ]
    return usual if quick else usual + wide


def measure(setting: Setting, key: Key) -> Record:
    """One child; what it needs is made beforehand, by another."""
    name, size, what = key
    height, width = (int(side) for side in size.split("x"))
    # Not under the name that other sections use: theirs has another net's weights.
    path = setting.artefact_path(name, "int8" if what == CALIBRATE else "fp32", (height, width), "memory")
    path.parent.mkdir(parents=True, exist_ok=True)
    exporting = (name, size, str(path))
    words: dict[str, tuple[str, ...]] = {EXPORT: exporting, CALIBRATE: (*exporting, str(setting.data))}
    if what in {PREDICT, EVALUATE}:
        if not path.exists():
            say(f"memory {' '.join(key)}: exports first")
            child(_SCRIPTS[EXPORT], *exporting)
        source, batch = (_street(setting), "1") if size == _STREET else (setting.photos(32), "8")
        words |= {PREDICT: (str(path), str(source), batch), EVALUATE: (str(path), str(_labelled(setting)))}
    path.with_suffix(".calib.json").unlink(missing_ok=True)  # ranges that an earlier run found would spare the work
    say(f"memory {' '.join(key)}: measures")
    return {"mib": round(child(_SCRIPTS[what], *words[what]).peak_mib), "notes": []}


def table(records: Records) -> Table:
    """A line a process."""
    lines = Table("Memory", ("what", "net", "size", "peak MiB"))
    for (name, size, what), record in records.items():
        text = "predict one picture" if (what, size) == (PREDICT, _STREET) else _WORDS.get(what, what)
        lines.rows.append((text, name, size, str(record["mib"])))
    return lines


def _labelled(setting: Setting) -> Path:
    """Photos in folders named by their class."""
    return next((folder for folder in (SHARED / "data" / "imagenet" / "val",) if folder.is_dir()), setting.data)


def _street(setting: Setting) -> Path:
    """One picture of a street camera's size."""
    path = setting.folder / "street.png"
    if not path.exists():
        cv2.imwrite(str(path), probe_images(1, (1024, 2048))[0])
    return path
