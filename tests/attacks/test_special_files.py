"""Pipes, devices, sockets and links to them where an image or a list is read: one line, and no waiting."""

import os
import socket
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from hrnet_deploy.batch_prediction.inputs import find_inputs
from hrnet_deploy.batch_prediction.tar_span import list_tar
from hrnet_deploy.benchmark.timed_model import read_image
from hrnet_deploy.calibration.image_selection import content_hashes
from hrnet_deploy.engines.remote.remote_model import Token
from hrnet_deploy.errors import HrnetDeployError, ImageError, UsageError
from hrnet_deploy.evaluation.datasets.cityscapes import read_label
from hrnet_deploy.evaluation.datasets.imagenet import find_photos
from hrnet_deploy.evaluation.datasets.label_file import read_label_file
from hrnet_deploy.imaging.class_names import read_classes
from hrnet_deploy.imaging.sources import items, read_frame
from hrnet_deploy.system.regular_file import ALLOW_SPECIAL, read_regular

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")
SECONDS = 5
PNG = cv2.imencode(".png", np.full((4, 5, 3), 7, np.uint8))[1].tobytes()


@pytest.fixture(params=["pipe", "socket", "endless device", "link to a device", "terminal"])
def special(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket has at most 107 characters
    path = tmp_path / "special"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("special")
    elif request.param == "endless device":
        path = path.with_name("zero")
        path.symlink_to("/dev/zero")
    elif request.param == "link to a device":
        path.symlink_to("/dev/random")
    else:
        path.symlink_to("/dev/ptmx")
    return path


READERS = {
    "image": read_frame,
    "video": lambda path: [item.load() for item in items(path.rename(path.with_suffix(".mp4")))],
    "image of a benchmark": read_image,
    "image of calibration": lambda path: content_hashes([path]),
    "label image": lambda path: read_label(path, 19),
    "class file": read_classes,
    "label file": lambda path: read_label_file(path, ("a", "b")),
    "data set": lambda path: find_photos(path, ("a", "b")),
    "list file": lambda path: find_inputs([f"@{path}"]),
    "tar": lambda path: list_tar(path, path.name),
    "token file": Token.read,
}


@pytest.mark.parametrize("kind", READERS)
def test_a_special_file_is_refused_at_once(special, kind):
    start = time.monotonic()
    with pytest.raises(HrnetDeployError) as caught:
        READERS[kind](special)
    assert time.monotonic() - start < SECONDS
    assert "\n" not in str(caught.value)


def test_special_files_in_a_folder_do_not_block_it(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(PNG)
    (tmp_path / "c.png").symlink_to("/dev/zero")
    outcomes = []
    for item in items(tmp_path):
        try:
            outcomes.append(item.load().name)
        except ImageError as error:  # noqa: PERF203
            outcomes.append(str(error).split(" at ")[0])
    refused = "image must be a regular file, got a "
    assert outcomes == [f"{refused}pipe", "b.png", f"{refused}character device"]


def test_a_pipe_is_read_where_it_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv(ALLOW_SPECIAL, "1")
    os.mkfifo(tmp_path / "pipe.png")
    writer = threading.Thread(target=(tmp_path / "pipe.png").write_bytes, args=(PNG,))
    writer.start()
    while not writer.is_alive():
        time.sleep(0.01)
    assert read_frame(tmp_path / "pipe.png").image.shape == (4, 5, 3)
    writer.join()


@pytest.mark.skipif(sys.platform != "linux", reason="the shell gives names of pipes in /dev/fd")
def test_a_process_of_the_shell_is_read_where_it_is_allowed(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    program = (
        "import sys; from hrnet_deploy.imaging.sources import read_frame; print(read_frame(sys.argv[1]).image.shape)"
    )
    ran = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{program}" <(sleep 0.5; cat {tmp_path / "a.png"})'],
        env=os.environ | {ALLOW_SPECIAL: "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout == "(4, 5, 3)\n"


def test_an_endless_device_is_read_up_to_the_limit_where_it_is_allowed(monkeypatch):
    monkeypatch.setenv(ALLOW_SPECIAL, "1")
    with pytest.raises(UsageError, match="must have at most 3000000 bytes"):
        read_regular("/dev/zero", "class file", 3_000_000)
