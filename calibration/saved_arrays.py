"""Arrays of a .npz file, read without more memory than the file has bytes."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError
from hrnet_deploy.limits import CALIBRATION_STATE_BYTES
from hrnet_deploy.system.regular_file import read_regular

_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read the uncompressed arrays that `numpy.savez` wrote.

    Args:
        path: the .npz file.

    Returns:
        The arrays by name.

    Raises:
        HrnetDeployError: a file that is missing, special or larger than `CALIBRATION_STATE_BYTES`.
        ValueError: compressed members, objects, or a shape that its bytes do not fill.
        zipfile.BadZipFile: no ZIP file.
    """
    content = read_regular(path, "calibration state", CALIBRATION_STATE_BYTES, UsageError)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        # Members may share bytes, so that their sum is checked, too.
        if sum(member.file_size for member in members) > len(content):
            raise ValueError("members larger than the file")
        return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[np.generic]:
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("compressed members")
    stream = io.BytesIO(archive.read(member))
    reader = _READERS.get(np.lib.format.read_magic(stream))
    if reader is None:
        raise ValueError("an array of another format")
    shape, fortran, dtype = reader(stream)
    values = stream.read()
    if fortran or dtype.hasobject or min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"an array of another form than {shape}")
    return np.frombuffer(values, dtype).reshape(shape)
