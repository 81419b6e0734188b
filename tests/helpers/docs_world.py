"""The folder in which the handbook's commands run: small trained models and real images, named as the pages do."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import torch
from helpers.dialect_files import save_mm, save_paddle, save_timm
from safetensors.torch import load_file

from hrnet_deploy.artifact.known_classes import CITYSCAPES_CLASSES

ROOT = Path(__file__).resolve().parents[2]
DEMO, DATA = ROOT / "demo", ROOT.parent / "shared" / "data"
COMMANDS = ("export", "predict", "models", "doctor", "bench", "inspect", "report", "serve")


def make_world(folder):
    """Fill a folder: weights, images, data sets and artifacts."""
    make_inputs(folder)
    for line in (
        "hrnet-export --weights w18.pth -o w18.onnx",
        "hrnet-export --weights w18.pth --precision fp16 -o w18_fp16.onnx",
        "hrnet-export --weights w18.pth --precision int8 --calib-data train --calib-images 40 -o w18_int8.onnx",
        "hrnet-export --weights street.pth --no-align-corners --imgsz 360x480 -o street.onnx",
    ):
        run(line, folder)
    return folder


def make_inputs(folder):
    """Fill a folder: weights (w18.pth, street.pth), images (cat.jpg, street.png, photos) and data sets."""
    names = (DEMO / "photos10.txt").read_text().split()
    state = load_file(DEMO / "hrnet_w18_small_v1_photos10.safetensors")
    torch.save({"state_dict": state, "meta": {"CLASSES": names}}, folder / "w18.pth")
    # Small images keep the run short; the file is read for classifiers under the official and timm's names.
    small = {"input_size": [3, 64, 64], "crop_pct": 1.0, "interpolation": "bilinear"}
    config = {"architecture": "hrnet_w18_small", "num_classes": len(names), "pretrained_cfg": small}
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(DEMO / "hrnetv2_w18_small_v1_street.pth", folder / "street.pth")
    shutil.copy(DEMO / "photos10.txt", folder / "classes.txt")
    _publish(state, names, small, folder)
    for split in ("train", "val"):
        shutil.copytree(DATA / "photos" / split, folder / split)
    shutil.copytree(DATA / "street", folder / "cityscapes")
    photos = folder / "photos"
    photos.mkdir()
    for number, path in enumerate(sorted((DATA / "imagenet" / "val").rglob("*.JPEG"))[:6]):
        shutil.copy(path, photos / f"{number}.jpg")
    shutil.copy(photos / "0.jpg", folder / "cat.jpg")
    shutil.copy(min((DATA / "street" / "leftImg8bit" / "val").rglob("*.png")), folder / "street.png")
    (folder / "list.txt").write_text("".join(f"photos/{path.name}\n" for path in sorted(photos.iterdir())))
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "0.tar", "w") as shard:
        for path in sorted(photos.iterdir())[:2]:
            shard.add(path, path.name)


def _publish(state, names, small, folder):
    """Write the same weights under the file names of the recipes, each as its code base stores them."""
    torch.save(state, folder / "hrnet_w18_small_model_v1.pth")
    hub = {"architecture": "hrnet_w18_small", "num_classes": len(names), "label_names": names}
    save_timm(
        state,
        folder / "hrnet_w18_small.ms_in1k",
        **hub,
        pretrained_cfg=small,
    )
    save_mm(state, folder / "hrnet-w18_3rdparty_8xb32_in1k_20220120-0c10b180.pth", CLASSES=names)
    save_paddle(state, folder / "HRNet_W18_C_pretrained.pdparams")
    street = torch.load(DEMO / "hrnetv2_w18_small_v1_street.pth", weights_only=True)
    torch.save(street, folder / "hrnet_w18_small_v1_cityscapes_cls19_1024x2048_trainset.pth")
    plain = {name.removeprefix("model."): value for name, value in street.items() if not name.startswith("loss.")}
    save_mm(plain, folder / "fcn_hr18s_512x1024_160k_cityscapes.pth", CLASSES=list(CITYSCAPES_CLASSES))


def make_bin(folder):
    """Write the commands as scripts that run this checkout."""
    folder.mkdir()
    scripts = {f"hrnet-{name}": f"-m hrnet_deploy {name} " for name in COMMANDS} | {"python": ""}
    for name, words in scripts.items():
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)


def run(text, folder, language="bash"):
    """Run a block of a page; return the finished process."""
    words = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
    bin_folder = folder.parent / "bin"
    if not bin_folder.exists():
        make_bin(bin_folder)
    environment = os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HRNET_DEPLOY_CACHE": str(folder.parent / "cache"),
    }
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
