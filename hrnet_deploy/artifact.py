"""Artefacts on disk: atomic writes, content digests, and the card inside."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.labels import pack_classes, unpack_classes
from hrnet_deploy.spec import ModelCard

CARD_KEY = "hrnet_deploy.card"
"""Key of the card in ONNX `metadata_props`."""

_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """A file that appears whole or not at all.

    Args:
        path: final place; its folder is made if missing, an existing file is replaced.

    Yields:
        A temporary path in a fresh folder beside it, to be written by the body.

    Raises:
        UsageError: the place is a folder or cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"output must be a file, got the folder {path}. Add a file name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The same folder: a rename across file systems would be a copy, which can be seen half done.
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise UsageError(
            f"output folder must be writable, got {path.parent} ({error.strerror}). Choose another."
        ) from error
    try:
        temporary = scratch / path.name
        yield temporary
        # Weights over 2 GB lie beside the graph under a name of their own; they move first.
        for beside in sorted(scratch.iterdir(), key=lambda p: p == temporary):
            beside.replace(path.parent / beside.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """Digest of a file's content.

    Args:
        path: the file.

    Returns:
        SHA-256 in hex.

    Raises:
        MissingFileError: there is no such file.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFileError(f"file must exist, got {path}. Check the path.") from error
    return digest.hexdigest()


def card_metadata(card: ModelCard) -> dict[str, str]:
    """A card as string metadata; well-known class lists are written by name.

    Args:
        card: the card.

    Returns:
        One entry, under CARD_KEY.
    """
    content = json.loads(card.to_json())
    content["classes"] = pack_classes(card.classes)
    return {CARD_KEY: json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)}


def card_from_metadata(metadata: Mapping[str, str], name: str) -> ModelCard:
    """The card an artefact carries.

    Args:
        metadata: the artefact's string metadata.
        name: the artefact, for the error.

    Returns:
        The card.

    Raises:
        ArtifactError: there is none, or it cannot be read.
    """
    text = metadata.get(CARD_KEY)
    if text is None:
        raise ArtifactError(
            f"artefact must carry a model card, got none in {name}. "
            f"Make one: hrnet-export {name} --task classification|segmentation -o NEW.onnx"
        )
    try:
        content = json.loads(text)
        content["classes"] = unpack_classes(content["classes"])
        return ModelCard.from_json(json.dumps(content))
    except (ArtifactError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{name}: {error}") from error
