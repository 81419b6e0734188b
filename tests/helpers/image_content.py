"""Image files for tests: what Pillow writes, a TIFF byte by byte, and the pixels that Pillow reads."""

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
from PIL import Image, ImageOps

from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.imaging.synthetic_images import synthetic_images

HEIGHT, WIDTH = 23, 31
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
SMOOTH = np.stack([COLUMNS * 8 % 256, ROWS * 11 % 256, (COLUMNS + ROWS) * 4 % 256], -1).astype(np.uint8)
IMAGE = Image.fromarray(SMOOTH)
CLEAR = IMAGE.copy()
CLEAR.putalpha(Image.fromarray((COLUMNS * 8 % 256).astype(np.uint8)))
TOLERANCE = 1
"""Levels: where a decoder rounds and Pillow cuts off."""


def save_images(folder):
    """Five images of different sizes, 0.png to 4.png, in a folder."""
    for index, size in enumerate([(40, 60), (64, 64), (33, 90), (120, 80), (64, 64)]):
        cv2.imwrite(str(folder / f"{index}.png"), synthetic_images(1, size)[0])
    return folder


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pillow_bgr(content):
    """Pillow's upright pixels without alpha; of 16-bit gray the upper byte."""
    with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as image:
        warnings.simplefilter("ignore")  # about palettes with transparency
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "I" or upright.mode.startswith("I;16"):
            return np.repeat((np.asarray(upright).astype(np.int64) >> 8).astype(np.uint8)[..., None], 3, 2)
        return np.asarray(upright.convert("RGB"))[..., ::-1]


def assert_as_pillow(content, tolerance=TOLERANCE):
    got, want = read_frame(content).image.astype(int), pillow_bgr(content).astype(int)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance


def tiff(planes, bits, photometric, *, order="<", extra=None, planar=False, orientation=1, tags=(), tile=None):
    """An uncompressed or deflated TIFF. `planes` are rows of packed bytes: one array, or one a plane."""
    strips = []
    for plane in planes if planar else [planes]:
        if tile is None:
            strips.append(zlib.compress(np.ascontiguousarray(plane).tobytes()))
        else:
            padded = np.pad(
                plane, [(0, -plane.shape[0] % tile), (0, -plane.shape[1] % tile), *[(0, 0)] * (plane.ndim - 2)]
            )
            strips += [
                zlib.compress(np.ascontiguousarray(padded[y : y + tile, x : x + tile]).tobytes())
                for y in range(0, padded.shape[0], tile)
                for x in range(0, padded.shape[1], tile)
            ]
    data, places = b"", []
    for strip in strips:
        places.append(8 + len(data))
        data += strip + b"\0" * (len(strip) % 2)
    offsets, lengths = (324, 325) if tile else (273, 279)
    entries = {256: (4, [WIDTH]), 257: (4, [HEIGHT]), 258: (3, list(bits)), 259: (3, [8]), 262: (3, [photometric])}
    entries |= {offsets: (4, places), 274: (3, [orientation]), 277: (3, [len(bits)])}
    entries |= {lengths: (4, [len(strip) for strip in strips]), 284: (3, [2 if planar else 1])}
    entries |= {322: (3, [tile]), 323: (3, [tile])} if tile else {278: (4, [HEIGHT])}
    entries |= {338: (3, extra)} if extra is not None else {}
    entries |= dict(tags)
    directory, beyond = b"", b""
    after = 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        body = struct.pack(f"{order}{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(body) > 4:
            place = struct.pack(order + "I", after + len(beyond))
            beyond += body + b"\0" * (len(body) % 2)
        else:
            place = body.ljust(4, b"\0")
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + place
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(data))
    return head + data + struct.pack(order + "H", len(entries)) + directory + bytes(4) + beyond
