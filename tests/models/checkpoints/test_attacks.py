"""Files that try to run code when they are read. None may; each leaves `PWNED` where it did."""

import io
import pickle
import subprocess
import zipfile

import pytest
import torch

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.container import read_container
from hrnet_deploy.models.checkpoints.fileformat import FileFormat
from hrnet_deploy.models.checkpoints.torchfile import InertPlaceholder, read_torch

CALLS = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("sys", "exit"),
    ("subprocess", "check_call"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("__builtin__", "eval"),
    ("pathlib", "Path.touch"),
    ("shutil", "rmtree"),
    ("torch", "load"),
    ("torch.hub", "load"),
    ("runpy", "run_path"),
    ("numpy", "load"),
    ("numpy.testing._private.utils", "runstring"),
    ("evil_dict_module", "OwnDict"),
]


def call(module, name, argument):
    """A protocol-2 pickle of {'x': module.name(argument)}; where it runs, the side effect is a file."""
    text = argument.encode()
    arguments = b"X" + len(text).to_bytes(4, "little") + text + b"\x85"
    return b"\x80\x02}X\x01\x00\x00\x00xc" + f"{module}\n{name}\n".encode() + arguments + b"Rs."


@pytest.fixture(params=CALLS, ids=".".join)
def attack(request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, name = request.param
    command = "touch PWNED" if name != "eval" else "open('PWNED', 'w')"
    yield call(module, name, command)
    assert not (tmp_path / "PWNED").exists()


def as_torch_zip(program, path, weights=b""):
    """The container torch.save writes, around a given pickle."""
    buffer = io.BytesIO()
    torch.save({"conv1.weight": torch.zeros(2)}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, program if entry.filename.endswith("data.pkl") else source.read(entry))


def as_torch_legacy(program, path):
    parts = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({}, 2), program]
    path.write_bytes(b"".join([*parts, pickle.dumps([], 2)]))


def test_the_attack_itself_works(tmp_path, monkeypatch):
    """Else the tests below would prove nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(call("os", "system", "touch PWNED"))
    assert (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("wrap", [as_torch_zip, as_torch_legacy])
def test_torch_files_run_nothing(attack, tmp_path, wrap):
    path = tmp_path / "weights.pth"
    wrap(attack, path)
    with pytest.raises(CheckpointError):
        read_container(path)


def test_pdparams_run_nothing(attack, tmp_path):
    path = tmp_path / "weights.pdparams"
    path.write_bytes(attack)
    with pytest.raises(CheckpointError, match="it is refused"):
        read_container(path)


def test_a_placeholder_takes_the_place_of_the_real_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_torch_zip(call("subprocess", "check_call", "touch PWNED"), tmp_path / "a.pth")
    content = read_torch(tmp_path / "a.pth", FileFormat.TORCH_ZIP)
    assert isinstance(content["x"], InertPlaceholder)
    assert content["x"].stands_for == "subprocess.check_call"
    assert not vars(content["x"])
    assert not (tmp_path / "PWNED").exists()


def test_allowing_posix_system_cannot_reach_it(tmp_path, monkeypatch):
    """PyTorch blocks the module by name before it looks into the table, and the table holds the placeholder."""
    monkeypatch.chdir(tmp_path)
    as_torch_zip(call("posix", "system", "touch PWNED"), tmp_path / "a.pth")
    allowed = torch.serialization.safe_globals([(InertPlaceholder, "posix.system")])
    with allowed, pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pth", weights_only=True)
    assert not (tmp_path / "PWNED").exists()


def test_nothing_stays_allowed_afterwards(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    as_torch_zip(call("some.module", "Thing", "x"), tmp_path / "a.pth")
    read_torch(tmp_path / "a.pth", FileFormat.TORCH_ZIP)
    assert set(torch.serialization.get_safe_globals()) == before


class Stateful:
    """Pickles into NEWOBJ and BUILD instead of REDUCE."""

    def __init__(self):
        self.command = "touch PWNED"

    def __setstate__(self, state):
        subprocess.run(state["command"], shell=True, check=False)  # noqa: S602


def test_objects_with_state_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for legacy in (False, True):
        torch.save(
            {"hub": Stateful(), "state_dict": {"a": torch.ones(1)}}, "a.pth", _use_new_zipfile_serialization=not legacy
        )
        assert list(read_container(tmp_path / "a.pth").tensors) == ["a"]
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    "program",
    [
        # BUILD on a name itself, not on an object: would set attributes of a class or function for good.
        b"\x80\x02c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.",
        b"\x80\x02c_codecs\nencode\nN}X\x0c\x00\x00\x00__defaults__K\x01s\x86b.",
        b"\x80\x02ccollections\nOrderedDict\nN}X\x03\x00\x00\x00popK\x01s\x86b.",
        b"\x80\x02cnumpy\nndarray\nN}X\x03\x00\x00\x00popK\x01s\x86b.",
        b"\x80\x02cnumpy\ndtype\nN}X\x09\x00\x00\x00argumentsK\x01s\x86b.",
        # A codec other than latin1 would unpack bombs.
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00bz2\x86R.",
        # A dtype of objects.
        (
            b"\x80\x02}X\x01\x00\x00\x00acnumpy._core.multiarray\nscalar\ncnumpy\ndtype\nX\x01\x00\x00\x00OK\x00K\x01\x87R"
            b"X\x08\x00\x00\x0012345678\x86Rs."
        ),
        # A dtype that is none.
        b"\x80\x02}X\x01\x00\x00\x00acnumpy._core.multiarray\nscalar\nNX\x08\x00\x00\x0012345678\x86Rs.",
        # Far more memory than the file has bytes.
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    ],
)
def test_pdparams_leave_no_trace(tmp_path, program):
    path = tmp_path / "weights.pdparams"
    path.write_bytes(program)
    with pytest.raises(CheckpointError):
        read_container(path)
