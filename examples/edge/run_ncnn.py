"""Convert an artifact to ncnn and run it: python run_ncnn.py MODEL.onnx INPUT.npy OUTPUT.npy [fp32|fp16].

INPUT holds one image as the artifact takes it, float32 (1, 3, height, width); OUTPUT gets the logits. Needs
`pip install ncnn numpy` and `pip install --no-deps pnnx` (the converter is a program of its own and uses no torch).
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import ncnn
import numpy as np


def convert(model: Path, folder: Path, batch: np.ndarray, weights: str) -> Path:
    """Write model.ncnn.param and model.ncnn.bin to a folder; returns the first one."""
    copy = Path(shutil.copy(model, folder / "model.onnx"))  # pnnx writes beside its input, and changes some names
    program = Path(importlib.util.find_spec("pnnx").origin).parent / "pnnx"
    shape = f"[{','.join(map(str, batch.shape))}]{'f32' if batch.dtype == np.float32 else 'u8'}"
    words = [program, copy.name, f"inputshape={shape}", f"fp16={int(weights == 'fp16')}"]
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return copy.with_suffix(".ncnn.param")


def run(param: Path, image: np.ndarray, weights: str) -> np.ndarray:
    """Compute the logits of an image (3, height, width)."""
    net = ncnn.Net()
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(net.opt, option, weights == "fp16")
    if net.load_param(str(param)) or net.load_model(str(param.with_suffix(".bin"))):
        sys.exit(f"run_ncnn.py: {param.name} must hold layers that ncnn has. See docs/guides/runtimes.md.")
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(image).clone())  # a Mat alone would not keep the array alive
    return np.array(extractor.extract("out0")[1])


if __name__ == "__main__":
    model, source, target, *precision = sys.argv[1:]
    batch = np.load(source)
    kind = precision[0] if precision else "fp32"
    param = convert(Path(model), Path(target).resolve().parent, batch, kind)
    np.save(target, run(param, batch[0], kind)[None])
