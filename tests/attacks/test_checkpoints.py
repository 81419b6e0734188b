"""Checkpoints that claim more than they hold: each is refused in one line, soon, and within memory like its size."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from hrnet_deploy.errors import CheckpointError, UsageError
from hrnet_deploy.limits import CLASSES
from hrnet_deploy.models.checkpoints.checkpoint_file import open_checkpoint
from hrnet_deploy.models.checkpoints.container import read_container
from hrnet_deploy.models.checkpoints.file_format import FileFormat, something_else, weights_in
from hrnet_deploy.models.checkpoints.load import load_checkpoint
from hrnet_deploy.models.checkpoints.torch_file import read_torch
from hrnet_deploy.models.checkpoints.unwrap import find_model
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant
from hrnet_deploy.models.weights import resolve_weights

CHILD = Path(__file__).parents[1] / "helpers" / "read_checkpoints.py"
WEIGHT = "stage4.0.branches.0.0.conv1.weight"
MAX_SECONDS, MAX_FACTOR, SPARE_BYTES, MAX_LENGTH = 10, 10, 200 << 20, 700


def torch_zip(program, storages=(), **members):
    """A zip as torch.save writes it, around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        for key, content in dict(storages).items():
            archive.writestr(f"archive/data/{key}", content)
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return buffer.getvalue()


def torch_legacy(program):
    head = (0x1950A86A20F9469CFC6C, 1001, {})
    return b"".join([*(pickle.dumps(part, 2) for part in head), program, pickle.dumps([], 2)])


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(shape, stride, *, offset=b"K\x00", count=b"K\x08", key="0"):
    """A pickle of a tensor; the shape and the stride are pickles, too."""
    pid = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + count + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + offset + shape + stride + b"\x89}tR"


def holding(value):
    return b"\x80\x02}" + text(WEIGHT) + value + b"s."


def integer(value):
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def array(shape, raw, *, code=b"U\x02f4", fortran=b"\x89"):
    """A pickle of a NumPy array."""
    created = b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    dtype = b"cnumpy\ndtype\n" + code + b"\x89\x88\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return created + b"(K\x01" + shape + dtype + fortran + raw + b"tb"


EIGHT = {"0": bytes(32)}
PAIR_OF_ITSELF = b")" + b"2\x86" * 60
WHOLE, ONE = b"K\x08\x85", b"K\x01\x85"
HUGE = integer(1 << 40) + b"\x85"
TABLE = "UnpackBigParamInfor@@"
BLOCK = b"T\x80\x1a\x06\x00" + bytes(400_000) + b"q\x01"
RAW = b"U\x04" + bytes(4)
KINDS = {
    "expanded tensor.pth": torch_zip(holding(tensor(HUGE, b"K\x00\x85")), EIGHT),
    "overlapping strides.pth": torch_zip(holding(tensor(b"K\x05K\x05\x86", b"K\x01K\x01\x86")), EIGHT),
    "offset outside.pth": torch_zip(holding(tensor(WHOLE, ONE, offset=b"K\x01")), EIGHT),
    "negative size.pth": torch_zip(holding(tensor(integer(-1) + b"\x85", ONE)), EIGHT),
    "product of sizes overflows.pth": torch_zip(
        holding(tensor(integer(1 << 61) * 3 + b"\x87", b"K\x00" * 3 + b"\x87")), EIGHT
    ),
    "nothing of a huge shape.pth": torch_zip(
        holding(tensor(integer(1 << 61) + b"K\x00\x86", b"K\x01K\x01\x86")), EIGHT
    ),
    "sizes that are no numbers.pth": torch_zip(holding(tensor(PAIR_OF_ITSELF, ONE)), EIGHT),
    "storage larger than its member.pth": torch_zip(holding(tensor(WHOLE, ONE, count=integer(1 << 40))), EIGHT),
    "key that is a path.pth": torch_zip(holding(tensor(WHOLE, ONE, key="../../../../etc/passwd")), EIGHT),
    "tensor many times.pth": torch_zip(
        b"\x80\x02}(" + text("a") + tensor(WHOLE, ONE) + b"q\x00" + text("b") + b"](" + b"h\x00" * 300_000 + b"eu.",
        EIGHT,
    ),
    "byte order of megabytes.pth": torch_zip(holding(b"N"), byteorder="little" * 300_000),
    "two pickles.pth": torch_zip(holding(b"N"), **{"b/data.pkl": holding(b"N")}),
    "storages of nothing.pth": torch_legacy(b"\x80\x02}.")[:-3] + b"(K\x01K\x02e.",
    "huge shape.pdparams": holding(array(HUGE, RAW)),
    "nothing of a huge shape.pdparams": holding(array(integer(1 << 61) + b"K\x00\x86", b"U\x00", fortran=b"\x88")),
    "dtype that takes forever to hash.pdparams": holding(array(b"K\x01\x85", RAW, code=PAIR_OF_ITSELF)),
    "dtype of objects.pdparams": holding(array(b"K\x01\x85", RAW, code=b"U\x01O")),
    "shape that is no tuple.pdparams": holding(array(b"U\x04abcd", RAW)),
    "one block of bytes in many arrays.pdparams": b"\x80\x02}("
    + b"".join(text(f"a{i}") + array(integer(100_000) + b"\x85", b"h\x01" if i else BLOCK) for i in range(2000))
    + b"u.",
    "table of parts that is a list.pdparams": b"\x80\x02}" + text(TABLE) + b"]s.",
    "parts that are numbers.pdparams": pickle.dumps({TABLE: {"w": {"slices": [1], "OriginShape": (1,)}}}, 2),
    "parts that are missing.pdparams": pickle.dumps({TABLE: {"w": {"slices": ["a"], "OriginShape": (3,)}}}, 2),
    "header of nested lists.safetensors": struct.pack("<Q", 200_000) + b'{"a":' + b"[" * 199_995,
    "header of an exabyte.safetensors": struct.pack("<Q", 1 << 60) + b'{"a":1}',
    "sizes that overlap.safetensors": save({"a": torch.zeros(2), "b": torch.zeros(2)}).replace(b"[8,16]", b"[0, 8]"),
    "more classes than any model.safetensors": save(
        {f"stage{n}.0.fuse_layers.0.1.0.weight": torch.zeros(2, 2, 1, 1) for n in (2, 3, 4)}
        | {"classifier.weight": torch.zeros(CLASSES + 1, 0)}
    ),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What a child process with 2 GiB makes of each file."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, content in KINDS.items():
        (folder / name).write_bytes(content)
    paths = [str(folder / name) for name in KINDS]
    command = [sys.executable, str(CHILD), *paths]
    run = subprocess.run(command, capture_output=True, check=False, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    return {Path(path).name: found for path, found in json.loads(run.stdout).items()}


@pytest.mark.parametrize("name", KINDS)
def test_claims_beyond_the_file_are_refused(outcomes, name):
    found = outcomes[name]
    assert found["message"]
    assert "\n" not in found["message"]
    assert len(found["message"]) < MAX_LENGTH
    assert found["seconds"] < MAX_SECONDS
    assert found["bytes"] < MAX_FACTOR * len(KINDS[name]) + SPARE_BYTES


def test_the_child_notices_what_is_fine(tmp_path):
    """Else the tests above would prove nothing."""
    torch.manual_seed(0)
    network = build_network(find_variant("hrnetv2_w18_small_v1"), 3)
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    command = [sys.executable, str(CHILD), str(tmp_path / "net.safetensors")]
    run = subprocess.run(command, capture_output=True, check=True, text=True, timeout=300)
    assert [found["message"] for found in json.loads(run.stdout).values()] == [""]


def members(archive):
    return archive.index(b"PK\x01\x02"), archive.count(b"PK\x01\x02")


def test_members_of_a_zip_that_overlap_are_refused(tmp_path):
    """A directory whose entries all point at one member would have it read once for each."""
    content = bytearray(torch_zip(holding(b"N"), {str(i): bytes(1000) for i in range(100)}))
    position, count = members(content)
    for _ in range(count):
        content[position + 42 : position + 46] = bytes(4)
        name, extra, comment = struct.unpack_from("<3H", content, position + 28)
        position += 46 + name + extra + comment
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="one after the other, got 'archive/"):
        read_container(tmp_path / "a.pth")


def test_a_file_that_is_cut_while_it_is_open_is_an_error(tmp_path):
    """A mapped file would end the process with SIGBUS."""
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pth"
        torch.save({WEIGHT: torch.ones(1 << 20)}, path, _use_new_zipfile_serialization=not legacy)
        with open_checkpoint(path) as file:
            tree = read_torch(file, FileFormat.TORCH_LEGACY if legacy else FileFormat.TORCH_ZIP)[0]
            os.truncate(path, 5000)
            with pytest.raises(EOFError, match="was cut to 5000 bytes while it was read"):
                find_model(tree, "checkpoint")


def test_special_files_are_refused_at_once(tmp_path):
    pipe = tmp_path / "weights.pth"
    os.mkfifo(pipe)
    with pytest.raises(CheckpointError, match="must be a regular file, got a pipe"):
        load_checkpoint(resolve_weights(pipe))
    with pytest.raises(CheckpointError, match="must be a regular file, got a character device"):
        load_checkpoint(Path("/dev/zero"))
    assert something_else(pipe) is None
    with pytest.raises(UsageError, match="with no weights"):
        weights_in(tmp_path)


def test_a_pipe_that_is_allowed_cannot_be_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("HRNET_DEPLOY_ALLOW_SPECIAL", "1")
    with pytest.raises(CheckpointError, match="read in several places"):
        load_checkpoint(Path("/dev/zero"))


def test_special_files_beside_weights_are_passed_over(tmp_path):
    torch.manual_seed(0)
    network = build_network(find_variant("hrnetv2_w18_small_v1"), 3)
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    for name in ("config.json", "net.yaml"):
        os.mkfifo(tmp_path / name)
    assert load_checkpoint(tmp_path / "net.safetensors").num_classes == 3


class Shadowed(dict):
    """A dict whose methods are hidden by its state, as unpickling can make it."""

    def __init__(self, content):
        super().__init__(content)
        self.items = self.keys = self.get = 3


class OwnTensor(torch.Tensor):
    """A subclass that does something else in place of every operation."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(func)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: torch.zeros(2, 2).to_sparse(), "sparse or nested"),
        (lambda: torch.nested.nested_tensor([torch.zeros(1), torch.zeros(2)]), "sparse or nested"),
        (lambda: torch.quantize_per_tensor(torch.zeros(2), 1.0, 0, torch.qint8), "quantized"),
        (lambda: torch.zeros(2).as_subclass(OwnTensor), "of a subclass of tensors"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_in_memory_without_plain_numbers_are_named(value, message):
    with pytest.raises(CheckpointError, match=message):
        find_model({WEIGHT: value()}, "state dict")


def test_hidden_methods_of_a_dict_are_not_used():
    assert list(find_model(Shadowed({WEIGHT: torch.ones(1)}), "state dict").tensors) == [WEIGHT]


@pytest.mark.parametrize("count", [0, CLASSES + 1, 10**9, 1 << 70])
def test_heads_beyond_the_limit_are_not_built(count):
    with pytest.raises(UsageError, match=f"1 to {CLASSES}, got {count}"):
        build_network(find_variant("hrnet_w18"), count, device="meta")
