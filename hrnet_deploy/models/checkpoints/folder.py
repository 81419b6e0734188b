"""The weights file of a folder; loads without torch."""

from __future__ import annotations

from pathlib import Path

from hrnet_deploy.errors import UsageError

_SUFFIXES = frozenset({".pth", ".pt", ".tar", ".bin", ".ckpt", ".safetensors", ".pdparams"})
_PUBLISHED = ("model.safetensors", "pytorch_model.bin")
"""The Hugging Face hub has the same weights in both files; the first is used."""
_INFERENCE = frozenset({".pdiparams", ".pdmodel"})
_SHOWN = 4

PADDLE_INFERENCE = (
    "a Paddle inference model, which has lost HRNet's names",
    (
        "Give the .pdparams it was exported from; or convert it with paddle2onnx, and give that: "
        "hrnet-export FILE.onnx --task classification"
    ),
)
"""Description of the files of paddle.jit.save, and the alternative."""


def weights_in(folder: Path) -> Path:
    """Find the one weights file of a folder, such as a snapshot of the Hugging Face hub; else raise UsageError."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    found = [name for name in names if Path(name).suffix.lower() in _SUFFIXES]
    published = [name for name in _PUBLISHED if name in found]
    if published or len(found) == 1:
        return folder / (published or found)[0]
    if not found and any(Path(name).suffix in _INFERENCE for name in names):
        what, advice = PADDLE_INFERENCE
        raise UsageError(f"weights must be a checkpoint, got the folder {folder} of {what}. {advice}.")
    if any(path.name.endswith(".distcp") for path in folder.iterdir()):
        raise UsageError(
            f"weights must be one file, got the folder {folder} of a distributed checkpoint. "
            "Gather it with torch.distributed.checkpoint.format_utils.dcp_to_torch_save."
        )
    listed = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
    raise UsageError(
        f"weights must be one file, got the folder {folder} with {listed or 'no weights'}. Name the file in it."
    )
