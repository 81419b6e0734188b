"""Files that try to run code when they are read. None may; each leaves `PWNED` where it did."""

import io
import pickle
import subprocess
import zipfile

import pytest
import torch

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.checkpoint_file import open_checkpoint
from hrnet_deploy.models.checkpoints.container import read_container
from hrnet_deploy.models.checkpoints.file_format import FileFormat
from hrnet_deploy.models.checkpoints.pickle_values import PickledObject
from hrnet_deploy.models.checkpoints.torch_file import read_torch

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
WEIGHT = "stage4.0.branches.0.0.conv1.weight"


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


def content_of(path):
    with open_checkpoint(path) as file:
        return read_torch(file, FileFormat.TORCH_ZIP)[0]


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


def test_a_call_is_written_down_instead(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_torch_zip(call("subprocess", "check_call", "touch PWNED"), tmp_path / "a.pth")
    created = content_of(tmp_path / "a.pth")["x"]
    assert isinstance(created, PickledObject)
    assert (created.name, created.arguments) == ("subprocess.check_call", ("touch PWNED",))
    assert not (tmp_path / "PWNED").exists()


# What a pickle may do to objects beside calling them, on top of a protocol-2 head.
BREAKERS = {
    "state for a name": b"cos\nsystem\n}X\x01\x00\x00\x00aK\x01sb.",
    "state for OrderedDict itself": b"ccollections\nOrderedDict\nN}X\x03\x00\x00\x00popK\x01s\x86b.",
    "state for a number": b"K\x01}b.",
    "append to a name": b"cos\nsystem\nK\x01a.",
    "append to a text": b"X\x01\x00\x00\x00xK\x01a.",
    "items of a list": b"]K\x01K\x02s.",
    "call of a text": b"X\x01\x00\x00\x00x)R.",
    "call without a tuple": b"cos\nsystem\n]R.",
    "an extension": b"\x82\x01.",
    "a memo of 4 billion places": b"Nr\xff\xff\xff\xff.",
    "a byte array of an exabyte": b"\x96\x00\x00\x00\x00\x00\x00\x00\x10.",
    "bytes of an exabyte": b"\x8e\x00\x00\x00\x00\x00\x00\x00\x10.",
    "a frame of an exabyte": b"\x95\x00\x00\x00\x00\x00\x00\x00\x10N.",
    "no end": b"",
    "an empty stack": b"0.",
}


@pytest.mark.parametrize("name", BREAKERS)
@pytest.mark.parametrize("wrap", [as_torch_zip, as_torch_legacy])
def test_torch_files_leave_no_trace(tmp_path, name, wrap):
    path = tmp_path / "weights.pth"
    wrap(b"\x80\x04" + BREAKERS[name], path)
    with pytest.raises(CheckpointError):
        read_container(path)


def test_an_object_calls_itself_no_further(tmp_path, monkeypatch):
    """What a call gives can be called, indexed and given state in a pickle; each is written down."""
    monkeypatch.chdir(tmp_path)
    program = b"\x80\x02}X\x01\x00\x00\x00xcoperator\nattrgetter\nX\x06\x00\x00\x00system\x85Rcos\n_\n\x85R)Rs."
    as_torch_zip(program, tmp_path / "a.pth")
    created = content_of(tmp_path / "a.pth")["x"]
    assert isinstance(created, PickledObject)
    assert created.name == "operator.attrgetter"


def test_keys_that_take_for_ever_to_hash_are_left_out(tmp_path):
    nested = b"()" + b"2\x86" * 60  # the pair of itself, sixty times
    as_torch_zip(b"\x80\x02}" + nested[1:] + b"K\x01s.", tmp_path / "a.pth")
    assert content_of(tmp_path / "a.pth") == {}


def test_containers_in_themselves_are_walked_once(tmp_path):
    content = {"weights": [], "arch": "x"}
    content["weights"] += [content, content["weights"]]
    for _ in range(200):
        content = {"deeper": content}
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="must hold a dict of tensors, got entries 'deeper'"):
        read_container(tmp_path / "a.pth")


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
            {"hub": Stateful(), "state_dict": {WEIGHT: torch.ones(1)}},
            "a.pth",
            _use_new_zipfile_serialization=not legacy,
        )
        assert list(read_container(tmp_path / "a.pth").weights.tensors) == [WEIGHT]
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
