"""Every kind of error as one line and an exit code."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from hrnet_deploy.cli.failure import describe, exit_code
from hrnet_deploy.errors import ImageError, VerificationError


def overflow():
    return overflow()


def caught(action):
    try:
        action()
    except BaseException as error:  # noqa: BLE001
        return error
    return None


ERRORS = [
    (ImageError("image must be one,\n got none."), 2, "image must be one, got none."),
    (VerificationError("graph must be equal."), 3, "graph must be equal."),
    (OSError(errno.ENOSPC, "No space left on device", "a.onnx"), 1, "a.onnx must be usable, got 'No space left on de"),
    (caught(Path("x" * 300).read_bytes), 1, "got 'File name too long'. Choose a shorter name."),
    (
        caught(Path("caf\udce9/none").read_bytes),
        1,
        "caf\udce9/none must be usable, got 'No such file or directory'. Check",
    ),
    (OSError(errno.EROFS, "Read-only file system", "a"), 1, "Choose a folder that can be written."),
    (OSError("reset"), 1, "files and connections must be usable, got 'reset'. Check it."),
    (caught(lambda: np.zeros((1 << 50,))), 1, "memory must suffice, got: Unable to allocate 8.00 PiB"),
    (MemoryError(), 1, "memory must suffice, got: too little."),
    (caught(overflow), 1, "input must not be nested so deeply"),
    (caught("\udc80".encode), 1, "text must be Unicode, got: 'utf-8' codec can't encode"),
    (TypeError("a\nb"), 70, "internal error (TypeError: a b), which is a fault of hrnet_deploy. Run again with -v"),
    (caught(lambda: json.loads("{")), 70, "internal error (JSONDecodeError: "),
    (KeyboardInterrupt(), 130, None),
]


@pytest.mark.parametrize(("error", "code", "text"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_is_one_line_and_a_code(error, code, text):
    assert exit_code(error) == code
    if text is not None:
        assert text in describe(error)
        assert "\n" not in describe(error)
        assert len(describe(error)) < 800
