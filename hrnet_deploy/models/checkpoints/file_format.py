"""File format of weights, identified by content, and the weights file of a folder; loads without torch."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from pathlib import Path

from hrnet_deploy.errors import CheckpointError, HrnetDeployError, UsageError
from hrnet_deploy.models.checkpoints.checkpoint_file import CheckpointFile
from hrnet_deploy.models.checkpoints.zip_members import zip_directory
from hrnet_deploy.system.regular_file import open_regular, translated

_TORCH_LEGACY_MAGIC = re.compile(rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)
_SAFETENSORS = re.compile(rb".{4}\0{4}\{", re.DOTALL)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_HEAD_BYTES = 512
_SHOWN_LENGTH = 120
_WEIGHTS_SUFFIXES = frozenset({".pth", ".pt", ".tar", ".bin", ".ckpt", ".safetensors", ".pdparams"})
_PUBLISHED = ("model.safetensors", "pytorch_model.bin")
"""The Hugging Face hub has the same weights in both files; the first is used."""
_PADDLE_SUFFIXES = frozenset({".pdiparams", ".pdmodel"})
_PADDLE_INFERENCE = (
    "a Paddle inference model, which has lost HRNet's names",
    (
        "Give the .pdparams it was exported from; or convert it with paddle2onnx, and give that: "
        "hrnet-export FILE.onnx --task classification"
    ),
)

_FOREIGN: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (re.compile(rb"version https://git-lfs"), "a git-lfs pointer", "Fetch the file itself with 'git lfs pull'"),
    (
        re.compile(rb"(\xef\xbb\xbf)?\s*<(!|html|\?xml|head|body|error)", re.IGNORECASE),
        "a web page",
        "The download link led to a page; fetch the file itself",
    ),
    (
        # The program of paddle.jit.save in both formats, and its weights: tensors of version 0 without levels.
        re.compile(
            rb'\s*\{\s*"base_code"\s*:\s*\{\s*"magic"\s*:\s*"pir"|\x0a.{1,5}\x08\x00\x10\xff{9}\x01|\0{16}.{4}\x08',
            re.DOTALL,
        ),
        *_PADDLE_INFERENCE,
    ),
    (
        re.compile(rb"\0{512}"),
        "a file that begins with zeros only, as an interrupted download leaves it",
        "Fetch it again",
    ),
    (
        re.compile(rb"\x08[\x01-\x7f][\x12\x1a\x32\x3a]"),
        "an ONNX graph",
        "Give a checkpoint here, or pass the .onnx in place of the model's name",
    ),
    (re.compile(rb"ftrt"), "a TensorRT engine", "Weights cannot be taken out of an engine; give a checkpoint"),
    (
        re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf"),
        "a compressed archive",
        "Unpack it and give the file inside",
    ),
    (re.compile(rb".{257}ustar", re.DOTALL), "a tar archive", "Unpack it and give the file inside"),
    (re.compile(rb"\x89HDF|\x93NUMPY"), "an HDF5 or NumPy file", "Give a .pth, .safetensors or .pdparams file"),
)


class FileFormat(str, enum.Enum):
    """Storage format of a checkpoint."""

    TORCH_ZIP = "torch"
    """torch.save since 1.6: a zip with one pickle."""
    TORCH_LEGACY = "torch-legacy"
    """torch.save before 1.6: five pickles and raw storages."""
    SAFETENSORS = "safetensors"
    PADDLE = "pdparams"
    """paddle.save: one pickle of NumPy arrays."""


def identify(file: CheckpointFile) -> FileFormat:
    """Identify a checkpoint's format; raises CheckpointError, which names the actual content of another file."""
    head = file.read(0, min(file.size, _HEAD_BYTES))
    if not head:
        raise CheckpointError(f"checkpoint '{file.path}' must hold weights, got an empty file. Fetch it again.")
    return _from_head(file, head)


def something_else(path: Path) -> str | None:
    """Name an existing file that is no model, with advice, such as "an empty file. Export it again."; else None."""
    try:
        with open_regular(path, "file") as file:
            head = file.read(_HEAD_BYTES)
    except (HrnetDeployError, OSError):
        return None
    if not head:
        return "an empty file. Export it again."
    if head.startswith(b"PK\x03\x04") or _TORCH_LEGACY_MAGIC.match(head):
        return "an archive as PyTorch writes weights, which go to --weights. Export it again."
    for pattern, what, advice in _FOREIGN:
        if pattern.match(head) and what != "an ONNX graph":
            return f"{what}. {advice}."
    return None


def weights_in(folder: Path) -> Path:
    """Find the one weights file of a folder, such as a snapshot of the Hugging Face hub; else raise UsageError."""
    with translated(folder, "folder of weights"):
        entries = sorted(folder.iterdir())
    names = [path.name for path in entries if path.is_file()]
    found = [name for name in names if Path(name).suffix.lower() in _WEIGHTS_SUFFIXES]
    published = [name for name in _PUBLISHED if name in found]
    if published or len(found) == 1:
        return folder / (published or found)[0]
    if not found and any(Path(name).suffix in _PADDLE_SUFFIXES for name in names):
        what, advice = _PADDLE_INFERENCE
        raise UsageError(f"weights must be a checkpoint, got the folder {folder} of {what}. {advice}.")
    if any(path.name.endswith(".distcp") for path in entries):
        raise UsageError(
            f"weights must be one file, got the folder {folder} of a distributed checkpoint. "
            "Gather it with torch.distributed.checkpoint.format_utils.dcp_to_torch_save."
        )
    raise UsageError(
        f"weights must be one file, got the folder {folder} with {few(found) or 'no weights'}. Name the file in it."
    )


def few(words: Iterable[str], most: int = 4) -> str:
    """List the first words, the beginning of long ones, and the number of the others."""
    listed = list(words)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    shown = (word if len(word) <= _SHOWN_LENGTH else f"{word[:_SHOWN_LENGTH]}..." for word in listed[:most])
    return ", ".join(shown) + more


def _from_head(file: CheckpointFile, head: bytes) -> FileFormat:
    path, size = file.path, file.size
    if head.startswith(b"PK\x03\x04"):
        return _from_zip(file)
    if _TORCH_LEGACY_MAGIC.match(head):
        return FileFormat.TORCH_LEGACY
    if _SAFETENSORS.match(head):
        if int.from_bytes(head[:8], "little") > size - 8:
            raise CheckpointError(
                f"checkpoint '{path}' must be complete, got {size} bytes, less than its header says. Fetch it again."
            )
        return FileFormat.SAFETENSORS
    if _PICKLE.match(head):
        return FileFormat.PADDLE
    for pattern, what, advice in _FOREIGN:
        if pattern.match(head):
            raise CheckpointError(f"checkpoint '{path}' must hold weights, got {what}. {advice}.")
    text = _text(head)
    if text:
        raise CheckpointError(f"checkpoint '{path}' must hold weights, got text: '{text}'. Fetch the file itself.")
    raise CheckpointError(
        f"checkpoint '{path}' must be a PyTorch, safetensors or Paddle file, got bytes {head[:8].hex(' ')}. "
        "It is damaged or something else; fetch it again."
    )


def _text(head: bytes) -> str:
    """Return the beginning of a readable text file, such as a server's message; empty for others."""
    try:
        words = " ".join(head.decode("utf-8", "ignore" if len(head) == _HEAD_BYTES else "strict").split())
    except UnicodeDecodeError:
        return ""
    return words[:60] if words.isprintable() else ""


def _from_zip(file: CheckpointFile) -> FileFormat:
    path, names = file.path, [entry.filename.rpartition("/")[2] for entry in zip_directory(file)]
    if "constants.pkl" in names:
        raise CheckpointError(
            f"checkpoint '{path}' must hold a state dict, got a TorchScript program. "
            "Save torch.jit.load(file).state_dict() with torch.save instead."
        )
    if "data.pkl" not in names:
        shown = [name[:80] for name in names[:3]]
        raise CheckpointError(
            f"checkpoint '{path}' must be written by torch.save, got a zip of {shown}. Give the file inside it."
        )
    return FileFormat.TORCH_ZIP
