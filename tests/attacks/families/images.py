"""Images, label images and videos."""

import struct
import zlib
from random import Random

import cv2
import numpy as np
from attacks import seeds
from attacks.case import SPECIALS, Case
from attacks.mutators import INTERESTING, mutate

_OUTPUT = ("--threads", "1", "--backend", "onnxruntime")


def _chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    length = struct.pack(">I", len(body) if size is None else size)
    return length + name + body + struct.pack(">I", zlib.crc32(name + body))


def claiming_png(random: Random) -> bytes:
    """Return a PNG whose header, or a chunk, claims far more than there is."""
    side = random.choice((1, 20_000, 65_535, 2**31 - 1))
    head = struct.pack(
        ">IIBBBBB", side, random.choice((side, 1)), random.choice((1, 8, 16)), random.choice((0, 2, 3, 6)), 0, 0, 0
    )
    claim = random.choice((None, None, *(n for n in INTERESTING if n < 2**32)))
    name = random.choice((b"tEXt", b"iCCP", b"PLTE", b"eXIf", b"zzZz"))
    pixels = zlib.compress(bytes(random.choice((10, 5_000_000))))
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(name, b"\0" * 9, claim)
        + _chunk(b"IDAT", pixels)
        + _chunk(b"IEND", b"")
    )


def many_scans(random: Random) -> bytes:
    """Return a progressive JPEG whose last scan is repeated thousands of times."""
    _, plain = cv2.imencode(".jpg", np.zeros((1024, 1024, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    content = plain.tobytes()
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * random.choice((10, 300, 4000)) + b"\xff\xd9"


def large_header(random: Random) -> bytes:
    """Return a small file of a format with easily written sizes that claims many pixels."""
    side = random.choice((30_000, 65_535, 2**31 - 1, 2**32 - 1))
    kind = random.choice(("pnm", "bmp", "gif", "tiff"))
    if kind == "pnm":
        return b"P%d\n%d %d\n%d\n\0" % (
            random.randint(1, 7),
            side,
            random.choice((1, side)),
            random.choice((1, 255, 65_535)),
        )
    if kind == "bmp":
        return b"BM" + struct.pack(
            "<IIIIiiHHIIIIII", 60, 0, 54, 40, min(side, 2**31 - 1), 60_000, 1, 24, 0, 0, 0, 0, 0, 0
        )
    if kind == "gif":
        return (
            b"GIF89a"
            + struct.pack("<HHBBB", 65_535, 65_535, 0xF7, 0, 0)
            + bytes(768)
            + b","
            + bytes(9)
            + b"\x02\x02\x44\x01\0;"
        )
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, side), (279, 16)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value & 0xFFFFFFFF) for tag, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(20)


def images(random: Random) -> Case:
    """Image files for hrnet-predict."""
    known = seeds.images()
    name = random.choice(list(known))
    deed = random.random()
    if deed < 0.03:
        content = claiming_png(random)
    elif deed < 0.06:
        content = large_header(random)
    elif deed < 0.065:
        content = many_scans(random)
    elif deed < 0.08:
        content = random.choice(SPECIALS).encode()
    elif deed < 0.1:
        content = random.randbytes(random.choice((0, 1, 40, 3000)))
    else:
        content = mutate(random, known[name], tuple(known.values()))
    suffix = random.choice(list(known)) if random.random() < 0.1 else name
    task = random.choice(("classification", "segmentation"))
    source = random.choice((f"a.{suffix}", f"a.{suffix}", ".", f"*.{suffix}"))
    words = ("predict", "model.onnx", source, *_OUTPUT)
    extra = random.choice(
        ((), (), ("--skip-bad",), ("--save", "saved"), ("--json",), ("--out", "results"), ("--draft",))
    )
    return Case(words=(*words, *extra), files={"model.onnx": seeds.model(task), f"a.{suffix}": content})


def labels(random: Random) -> Case:
    """Label images of a data set."""
    known = seeds.images()
    good = cv2.imencode(".png", np.arange(600, dtype=np.uint8).reshape(20, 30) % 3)[1].tobytes()
    deed = random.random()
    if deed < 0.1:
        content = claiming_png(random)
    elif deed < 0.15:
        content = random.choice(SPECIALS).encode()
    else:
        seed = random.choice((good, good, known["palette.png"], known["png"], known["tiff"]))
        content = mutate(random, seed, tuple(known.values()))
    return Case(words=("call:read_label", "label.png"), files={"label.png": content})


def videos(random: Random) -> Case:
    """Video files for hrnet-predict."""
    suffix, codec = random.choice((("avi", "MJPG"), ("avi", "MJPG"), ("mp4", "mp4v")))
    good = seeds.video(suffix, codec)
    content = (
        random.choice(SPECIALS).encode()
        if random.random() < 0.03
        else mutate(random, good, (good, seeds.images()["jpg"]))
    )
    name = f"v.{random.choice((suffix, suffix, 'mkv', 'mov', 'webm'))}"
    extra = ("--save", "saved") if random.random() < 0.05 else ()
    return Case(
        words=("predict", "model.onnx", name, *_OUTPUT, *extra), files={"model.onnx": seeds.model(), name: content}
    )
