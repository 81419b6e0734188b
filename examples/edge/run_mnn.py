"""Convert an artifact to MNN and run it: python run_mnn.py MODEL.onnx INPUT.npy OUTPUT.npy [fp32|fp16].

INPUT holds one image as the artifact takes it; OUTPUT gets the first output. Needs `pip install MNN numpy`. The command
`mnnconvert` of that wheel installs a package for usage statistics and sends them; the converter itself does neither.
"""

import subprocess
import sys
from pathlib import Path

import MNN
import numpy as np
from MNN import expr

CONVERTER = "import MNN, _tools, sys; _tools.mnnconvert(sys.argv)"
TYPES = {"float32": expr.float, "uint8": expr.uint8}


def convert(model: Path, folder: Path, weights: str) -> Path:
    """Write NAME.mnn to a folder."""
    target = folder / f"{model.stem}.mnn"
    words = [sys.executable, "-c", CONVERTER, "-f", "ONNX", "--modelFile", model, "--MNNModel", target]
    subprocess.run(words + ["--fp16"] * (weights == "fp16"), check=True, stdout=subprocess.DEVNULL)
    return target


def run(model: Path, batch: np.ndarray) -> np.ndarray:
    """Compute the first output of a batch: `labels` where the graph computes them, else `logits` or `probabilities`."""
    output = MNN.nn.load_module_from_file(str(model), [], []).get_info()["outputNames"][0]
    net = MNN.nn.load_module_from_file(str(model), ["input"], [output])
    outputs = net.forward([expr.const(batch, list(batch.shape), expr.NCHW, TYPES[str(batch.dtype)])])
    if not outputs:
        sys.exit(f"run_mnn.py: {model.name} must compute {output}, got nothing. See docs/guides/runtimes.md.")
    return np.array(expr.convert(outputs[0], expr.NCHW).read())


if __name__ == "__main__":
    model, source, target, *precision = sys.argv[1:]
    converted = convert(Path(model), Path(target).resolve().parent, precision[0] if precision else "fp32")
    np.save(target, run(converted, np.load(source)))
