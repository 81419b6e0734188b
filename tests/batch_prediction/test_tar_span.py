"""Tar shards: images are read in place, and hostile shards are refused in one line."""

import contextlib
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.batch_prediction.tar_span import list_tar
from hrnet_deploy.errors import HrnetDeployError, ImageError, MissingFileError, UsageError


def write_tar(path, members, form=tarfile.PAX_FORMAT):
    """Write (name or TarInfo, content) pairs."""
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def member(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def contents(span):
    return [(image.name, image.read()) for image in span.images()]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_images_come_from_their_place(tmp_path, form):
    long = "deep/" * 18 + "long name.PNG"
    members = [
        ("./a.jpg", b"first"),
        ("a.json", b"{}"),
        ("b/._c.jpg", b"mac"),
        (long, b"second"),
        ("b.cls", b"7"),
        ("é.webp", b"x" * 2000),
    ]
    path = write_tar(tmp_path / "0.tar", [(member("folder", tarfile.DIRTYPE), b""), *members], form)
    span = list_tar(path, "shards/0.tar")
    expected = [("./a.jpg", b"first"), (long, b"second"), ("é.webp", b"x" * 2000)]
    assert contents(span) == [(f"shards/0.tar/{name}", content) for name, content in expected]
    assert contents(span.cut(1, 2)) == contents(span)[1:2]
    assert len(span) == 3
    span.check()


@given(st.lists(st.tuples(st.integers(1, 150), st.sampled_from("aé/"), st.integers(0, 1100)), max_size=6))
@settings(max_examples=40, deadline=None)
def test_any_members_are_read_back(tmp_path_factory, shapes):
    members = [(f"x{sign * length}y.jpg", bytes([index]) * size) for index, (length, sign, size) in enumerate(shapes)]
    path = write_tar(tmp_path_factory.mktemp("tar") / "0.tar", members)
    span = list_tar(path, "0.tar")
    assert [image.name for image in span.images()] == [f"0.tar/{name}" for name, _ in members]
    for image, (_, content) in zip(span.images(), members, strict=True):
        if content:
            assert image.read() == content
        else:
            with pytest.raises(ImageError, match="must not be empty"):
                image.read()


@pytest.mark.parametrize(
    ("info", "got"),
    [
        (member("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), "got a link for 'a.jpg'"),
        (member("a.jpg", tarfile.LNKTYPE, "../b.jpg"), "got a link"),
        (member("a.jpg", tarfile.CHRTYPE), "got a device or an unknown kind"),
        (member("a.jpg", tarfile.BLKTYPE), "got a device"),
        (member("a.jpg", tarfile.FIFOTYPE), "got a device"),
        (member("a.jpg", b"Z"), "got a device or an unknown kind"),
        (member("../a.jpg", tarfile.REGTYPE), "have names below the shard, got another name for '../a.jpg'"),
        (member("a/../../b.jpg", tarfile.REGTYPE), "have names below the shard"),
        (member("/etc/a.jpg", tarfile.REGTYPE), "have names below the shard"),
        (member("a\\..\\b.jpg", tarfile.REGTYPE), "have names below the shard"),
    ],
)
def test_hostile_members_are_refused(tmp_path, info, got):
    path = write_tar(tmp_path / "0.tar", [("good.jpg", b"good"), (info, b"")])
    with pytest.raises(UsageError, match=r"members of tar shard x\.tar must") as caught:
        list_tar(path, "x.tar")
    assert got in str(caught.value)
    assert "\n" not in str(caught.value)


def header(name=b"a.jpg", size=b"00000000005\0", kind=b"0"):
    """Write one raw header with a right checksum."""
    block = bytearray(512)
    block[: len(name)], block[100:108], block[124:136], block[156:157] = name, b"0000644\0", size, kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


NEGATIVE = b"\xff" * 11 + b"\x00"  # base 256
HUGE = b"\x80" + b"\0" * 4 + b"\x7f" + b"\xff" * 6
TAIL = b"\0" * 1024


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (header(size=HUGE) + TAIL, "declared size of"),
        (header(size=b"77777777777\0") + TAIL, "declared size of 8589934591 bytes"),
        (header(size=NEGATIVE) + TAIL, ""),
        (header(name=b"x", size=HUGE, kind=b"x") + TAIL, "a header of"),
        (header(name=b"x", size=NEGATIVE, kind=b"x") + TAIL, ""),
        (header(name=b"x", size=b"00010000000\0", kind=b"L") + TAIL, "a header of"),
        (header(name=b"x", size=NEGATIVE, kind=b"L") + TAIL, ""),
        ((header(name=b"x", size=b"00000000001\0", kind=b"L") + b"y" + b"\0" * 511) * 3000 + TAIL, ""),
        (header(kind=b"S", size=b"00000000000\0") + TAIL, "sparse"),
        (header() + b"12", ""),
        (b"\x1f\x8b\x08\0" * 200, ""),
        (b"no tar", ""),
        (b"", ""),
    ],
)
def test_damaged_and_lying_files_are_refused(tmp_path, content, got):
    path = tmp_path / "0.tar"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        list_tar(path, "x.tar")
    assert got in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=40), st.integers(0, 2600))
@settings(max_examples=150, deadline=None)
def test_any_damage_is_an_error_or_another_listing(tmp_path_factory, noise, place):
    path = write_tar(tmp_path_factory.mktemp("tar") / "0.tar", [("a.jpg", b"a" * 600), ("b" * 120 + ".jpg", b"b")])
    content = bytearray(path.read_bytes())
    content[place : place + len(noise)] = noise
    path.write_bytes(content)
    try:
        span = list_tar(path, "0.tar")
    except HrnetDeployError:
        return
    for image, (_, _, size) in zip(span.images(), span.members, strict=True):
        assert size <= len(content)
        with contextlib.suppress(ImageError):
            assert len(image.read()) == size


def test_compressed_and_missing_files_are_named(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(UsageError, match="must be a whole, uncompressed tar file"):
        list_tar(tmp_path / "0.tar", "0.tar")
    with pytest.raises(MissingFileError, match="tar shard must exist"):
        list_tar(tmp_path / "1.tar", "1.tar")


def test_a_shard_that_changed_is_refused(tmp_path):
    path = write_tar(tmp_path / "0.tar", [("a.jpg", b"a")])
    span = list_tar(path, "0.tar")
    path.write_bytes(path.read_bytes() + b"\0" * 512)
    with pytest.raises(UsageError, match="input must stay as it was listed"):
        span.check()
    path.unlink()
    with pytest.raises(UsageError, match="got no file"):
        span.check()
