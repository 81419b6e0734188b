"""Holes and flipped bits are found wherever a format lets them be found, and are said to be possible elsewhere."""

import io
import logging
import re
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.container import read_container
from hrnet_deploy.models.checkpoints.load import load_checkpoint
from hrnet_deploy.models.network import build_network
from hrnet_deploy.models.variants import find_variant

STATE = {
    "conv1.weight": torch.arange(64.0),
    "stage4.0.branches.0.0.conv1.weight": torch.arange(96.0),
    "classifier.weight": torch.arange(32.0),
}
SAME_FOLDER = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def saved(**options):
    buffer = io.BytesIO()
    torch.save({"state_dict": STATE, "epoch": 3}, buffer, **options)
    return buffer.getvalue()


ZIP, LEGACY = saved(), saved(_use_new_zipfile_serialization=False)
MEMBERS = {entry.filename: entry for entry in zipfile.ZipFile(io.BytesIO(ZIP)).infolist()}


@pytest.fixture(scope="module")
def seg_state():
    torch.manual_seed(0)
    return build_network(find_variant("hrnetv2_w18_small_v1"), 3).state_dict()


def start_of(content, entry):
    names = content[entry.header_offset + 26 : entry.header_offset + 30]
    return entry.header_offset + 30 + int.from_bytes(names[:2], "little") + int.from_bytes(names[2:], "little")


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("last", [False, True])
def test_a_flipped_bit_names_its_member(tmp_path, name, last):
    content = bytearray(ZIP)
    content[start_of(ZIP, MEMBERS[name]) + (MEMBERS[name].file_size - 1 if last else 0)] ^= 0x40
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"wrong CRC-32 in its member '{name}'\. Fetch it again"):
        read_container(tmp_path / "a.pth")


def test_a_hole_in_a_whole_file_is_found(tmp_path, seg_state):
    path = tmp_path / "net.pth"
    torch.save(seg_state, path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 65536] = bytes(65536)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="wrong CRC-32 in its member 'net/data/"):
        load_checkpoint(path)


@pytest.mark.slow
@SAME_FOLDER
@given(position=st.integers(0, len(ZIP) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_zip_is_found_or_harmless(tmp_path, position, bit):
    content = bytearray(ZIP)
    content[position] ^= 1 << bit
    (tmp_path / "a.pth").write_bytes(content)
    try:
        found = read_container(tmp_path / "a.pth").weights.tensors
    except CheckpointError:
        return
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)


@pytest.mark.slow
@SAME_FOLDER
@given(position=st.integers(0, len(LEGACY) - 1), bit=st.integers(0, 7), keep=st.integers(1, len(LEGACY)))
def test_damage_of_an_old_file_is_one_kind_of_error(tmp_path, position, bit, keep):
    content = bytearray(LEGACY)
    content[position] ^= 1 << bit
    (tmp_path / "a.pth").write_bytes(content[:keep])
    try:
        read_container(tmp_path / "a.pth")
    except CheckpointError:
        return
    assert keep == len(LEGACY)  # what is cut short is never read


@pytest.mark.parametrize("keep", range(0, len(LEGACY), 97))
def test_an_old_file_cut_anywhere_is_refused(tmp_path, keep):
    (tmp_path / "a.pth").write_bytes(LEGACY[:keep])
    with pytest.raises(CheckpointError):
        read_container(tmp_path / "a.pth")


def test_bytes_after_an_old_file_are_refused(tmp_path):
    (tmp_path / "a.pth").write_bytes(LEGACY + b"more")
    with pytest.raises(CheckpointError, match="4 bytes follow its end"):
        read_container(tmp_path / "a.pth")


def test_files_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        content = saved()
    finally:
        torch.serialization.set_crc32_options(True)
    (tmp_path / "a.pth").write_bytes(content)
    found = read_container(tmp_path / "a.pth")
    assert not found.checksums
    assert torch.equal(found.weights.tensors["conv1.weight"], STATE["conv1.weight"])
    (tmp_path / "b.pth").write_bytes(ZIP)
    assert read_container(tmp_path / "b.pth").checksums


def test_a_repacked_zip_is_read_only_if_it_is_plain(tmp_path):
    for name, method in (("plain", zipfile.ZIP_STORED), ("packed", zipfile.ZIP_DEFLATED)):
        with (
            zipfile.ZipFile(io.BytesIO(ZIP)) as source,
            zipfile.ZipFile(tmp_path / f"{name}.pth", "w", method) as target,
        ):
            for entry in source.infolist():
                target.writestr(entry.filename, source.read(entry))
    found = read_container(tmp_path / "plain.pth").weights.tensors
    assert torch.equal(found["classifier.weight"], STATE["classifier.weight"])
    with pytest.raises(CheckpointError, match=r"must hold plain members, got 'archive/\S+' compressed"):
        read_container(tmp_path / "packed.pth")


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "a.pth").write_bytes(ZIP)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "a.pth", "a") as archive:
        archive.writestr("archive/data/0", bytes(256))
    with pytest.raises(CheckpointError, match="got 'archive/data/0' twice"):
        read_container(tmp_path / "a.pth")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "sign"),
    [
        (lambda t: t.view(-1)[100:1700].zero_(), "zeros in runs in 'last_layer.0.weight'"),
        (lambda t: t.view(-1)[7:8].fill_(3e30), "a weight of 3.0e\\+30 in 'last_layer.0.weight'"),
    ],
)
def test_signs_of_damage_are_reported_where_there_is_no_checksum(tmp_path, seg_state, caplog, damage, sign):
    state = {name: tensor.clone() for name, tensor in seg_state.items()}
    torch.save(state, tmp_path / "good.pth", _use_new_zipfile_serialization=False)
    load_checkpoint(tmp_path / "good.pth", align_corners=False)
    assert not caplog.records
    damage(state["last_layer.0.weight"])
    torch.save(state, tmp_path / "bad.pth", _use_new_zipfile_serialization=False)
    with caplog.at_level(logging.WARNING):
        load_checkpoint(tmp_path / "bad.pth", align_corners=False)
    (record,) = caplog.records
    assert "has no checksums and may be damaged" in record.getMessage()
    assert re.search(sign, record.getMessage())
