"""Artifacts in every form that a runtime may meet, and real images."""

from importlib.resources import files

import cv2
import pytest
from helpers.example_program import FORMS

from hrnet_deploy import Predictor, export

IMAGES = {"photos": ("skimage", "data/chelsea.png"), "street": ("sklearn", "datasets/images/china.jpg")}
TILE_PX = 96


@pytest.fixture(scope="session")
def form(demo, tmp_path_factory):
    """(name) -> path of the artifact in that form, exported once."""
    folder = tmp_path_factory.mktemp("forms")
    models = {
        "photos": {
            "weights": demo / "hrnet_w18_small_v1_photos10.safetensors",
            "classes": demo / "photos10.txt",
            "imgsz": 64,
            "resize": "squash",
        },
        "street": {"weights": demo / "hrnetv2_w18_small_v1_street.pth", "imgsz": "dynamic"},
    }

    def artifact(name):
        path = folder / f"{name}.onnx"
        if not path.exists():
            options = models[name.split("-")[0]] | FORMS[name]
            if options.get("precision") == "int8":
                options["calib_data"] = _tiles(folder / "tiles")
            export(output=path, **options)
        return path

    return artifact


@pytest.fixture(scope="session")
def image_file(tmp_path_factory):
    """(name of a form, suffix) -> a real image, as a file without losses."""
    folder = tmp_path_factory.mktemp("images")

    def written(name, suffix):
        package, path = IMAGES[name.split("-")[0]]
        pytest.importorskip(package)
        pixels = cv2.imread(str(files(package) / path))
        target = folder / f"{package}{suffix}"
        cv2.imwrite(str(target), pixels)
        return target

    return written


@pytest.fixture
def result(form, image_file):
    """(name of a form, backend) -> what `Predictor` finds on the form's image."""

    def predicted(name, backend="onnxruntime"):
        with Predictor(form(name), backend=backend, device="cpu") as predictor:
            return predictor.predict(image_file(name, ".png"))

    return predicted


def _tiles(folder):
    """Calibration images: parts of real ones."""
    if not folder.exists():
        folder.mkdir()
        for name in ("china", "flower"):
            pixels = cv2.imread(str(files("sklearn") / f"datasets/images/{name}.jpg"))
            for top in range(0, pixels.shape[0] - TILE_PX, TILE_PX):
                for left in range(0, pixels.shape[1] - TILE_PX, TILE_PX):
                    tile = pixels[top : top + TILE_PX, left : left + TILE_PX]
                    cv2.imwrite(str(folder / f"{name}_{top}_{left}.png"), tile)
    return folder
