"""Artifacts with random weights, for measuring the speed of an architecture without its weights or any images."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hrnet_deploy.export.entry_point import export
from hrnet_deploy.imaging.drawing import write_image
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.spec import Precision
from hrnet_deploy.system.cache_dir import cache_folder
from hrnet_deploy.version import VERSION

_IMAGES = 32
_IMAGE_HW = (256, 256)


def speed_artifact(variant: str, precision: Precision) -> Path:
    """Return an .onnx file of an architecture from the cache, exported once per precision and package version.

    The weights are random, and INT8 is calibrated on generated images: the file has the nodes, shapes and types of a
    real one, and predicts nothing of use.

    Raises:
        UsageError: no such architecture.
        MissingDependencyError: the export extra is not installed.
    """
    name = find_variant(variant).name
    path = cache_folder("speed") / f"{name}-{precision.value}-{VERSION}.onnx"
    if path.is_file():
        return path
    if precision is not Precision.INT8:
        export(name, weights="random", precision=precision.value, output=path)
        return path
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(synthetic_images(_IMAGES, _IMAGE_HW)):
            write_image(Path(folder, f"{number}.png"), image)
        export(name, weights="random", precision="int8", calib_data=folder, keep_rejected=True, output=path)
    return path
