"""What the tests of batch prediction share: images, pyarrow, and digests of folders."""

import hashlib
import importlib
from pathlib import Path

import cv2
import pytest
from helpers.parquet_peer import pyarrow_path

from hrnet_deploy.imaging.synthetic_images import synthetic_images


@pytest.fixture(scope="session")
def arrow():
    """The module pyarrow, with pyarrow.parquet."""
    with pyarrow_path():
        importlib.import_module("pyarrow.parquet")
        yield importlib.import_module("pyarrow")


@pytest.fixture
def images(tmp_path):
    """A folder of twelve images in several formats and sizes, one of which is broken."""
    root = tmp_path / "images"
    (root / "deep").mkdir(parents=True)
    for index in range(12):
        suffix = (".jpg", ".png", ".webp")[index % 3]
        place = root / "deep" if index % 4 == 0 else root
        cv2.imwrite(str(place / f"{index:02d}{suffix}"), synthetic_images(1, (40 + 8 * (index % 3), 56))[0])
    (root / "07.png").write_bytes(b"no image")
    return root


@pytest.fixture
def tree_digest():
    """A function: SHA-256 of every file below a folder, by name."""

    def digest(folder: Path) -> dict[str, str]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return digest
