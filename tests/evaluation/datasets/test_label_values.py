"""Label images: the numbers that are stored count, and what they mean is never guessed."""

import io
import logging
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.evaluation import evaluate
from hrnet_deploy.evaluation.datasets.cityscapes import read_label
from hrnet_deploy.evaluation.datasets.find_dataset import find_dataset
from hrnet_deploy.evaluation.datasets.label_values import parse_label_values
from hrnet_deploy.spec import Task

RNG = np.random.default_rng(9)


def write_set(root, masks):
    """Images whose grey level is the class a ColourNet of two classes answers, beside label images."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index, (image, mask) in enumerate(masks):
        cv2.imwrite(str(root / f"images/{index}.png"), np.repeat(image[..., None], 3, 2).astype(np.uint8))
        cv2.imwrite(str(root / f"masks/{index}.png"), mask.astype(np.uint8))
    return root


@pytest.fixture
def two(tmp_path):
    """A set of two classes as many tools write it: 0 and 255. Three quarters of each class are answered right."""
    right = np.repeat([[0, 1]], 4, 0).repeat(4, 1)
    answered = right.copy()
    answered[0] = 1 - answered[0]
    return write_set(tmp_path / "two", [(answered, 255 * right)] * 3)


def test_0_and_255_of_two_classes_are_refused_with_the_way_out(two, colour_net):
    with pytest.raises(UsageError, match=r"must hold 0 and 1, got 0 and 255 .* --label-values 0,255"):
        evaluate(colour_net(classes=2), two)


def test_0_and_255_are_judged_as_classes_where_that_is_said(two, colour_net):
    found = evaluate(colour_net(classes=2), two, label_values=(0, 255))
    assert found.metrics.miou == pytest.approx(12 / 20)
    assert found.metrics.support.tolist() == [48, 48]
    assert found.data.layout == "images and label images (values 0,255)"


def test_255_is_ignored_where_that_is_said(two, colour_net, caplog):
    with caplog.at_level(logging.WARNING):
        found = evaluate(colour_net(classes=2), two, label_values=(0, 1))
    assert found.metrics.support.tolist() == [48, 0]
    assert "1 of 2 classes never occur in the labels" in caplog.text
    assert "class_1" in caplog.text


def test_two_classes_with_ignored_pixels_are_fine(tmp_path, colour_net, caplog):
    mask = np.array([[0, 1, 255, 0]] * 4)
    root = write_set(tmp_path / "fine", [(np.zeros((4, 4)), np.where(mask == 1, 0, mask)), (np.zeros((4, 4)), mask)])
    with caplog.at_level(logging.WARNING):
        assert evaluate(colour_net(classes=2), root).metrics.support.tolist() == [20, 4]
    assert "never occur" not in caplog.text


def test_values_and_what_is_ignored_can_be_anything(tmp_path, colour_net):
    mask = np.array([[0, 10, 20, 30]] * 4)
    root = write_set(tmp_path / "any", [(np.array([[0, 1, 2, 0]] * 4), mask)])
    found = evaluate(colour_net(classes=3), root, label_values=(10, 20, 30), ignore_label=0)
    assert found.metrics.support.tolist() == [4, 4, 4]
    with pytest.raises(ImageError, match=r"must hold ids 10, 20, 30 or 255, got 0"):
        evaluate(colour_net(classes=3), root, label_values=(10, 20, 30))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_values": (0, 1, 2)}, r"one for each of the 2 classes, got 3\. .*\(class_0, class_1\)"),
        ({"label_values": (5, 5)}, r"different numbers of 0\.\.65535, got \(5, 5\)"),
        ({"ignore_label": 1}, r"different numbers .* got \(0, 1, 1\)"),
        ({"label_values": (0, 70000)}, "different numbers"),
    ],
)
def test_values_that_do_not_suit_are_refused(two, colour_net, options, message):
    with pytest.raises(UsageError, match=message):
        find_dataset(two, colour_net(classes=2).card, **options)


def test_values_are_for_label_images(two, colour_net, scenes):
    with pytest.raises(UsageError, match="must be left out for classification"):
        find_dataset(two / "images", colour_net(Task.CLASSIFICATION).card, ignore_label=0)


@pytest.mark.parametrize(
    ("text", "values"), [("0,255", (0, 255)), ("1-4, 9", (1, 2, 3, 4, 9)), ("7", (7,)), (None, None)]
)
def test_lists_of_values(text, values):
    assert parse_label_values(text) == values


@pytest.mark.parametrize("text", ["", "a", "0;255", "-1", "1-", "70000", "0,,1"])
def test_what_is_no_list_of_values(text):
    with pytest.raises(UsageError, match="Write 0,255 or 1-150"):
        parse_label_values(text)


# What a file stores -------------------------------------------------------------------------------------------------


def stored(image, **options):
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return stream.getvalue()


def packed_png(depth, color, values):
    bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., -depth:]
    rows = np.packbits(bits.reshape(len(values), -1), axis=1)

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, color, 0, 0, 0)
    palette = chunk(b"PLTE", RNG.integers(0, 256, 3 * 2**depth, np.uint8).tobytes()) if color == 3 else b""
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("color", [0, 3], ids=["grey", "palette"])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_the_stored_numbers_count_at_every_depth(tmp_path, depth, color):
    values = RNG.integers(0, min(2**depth, 100), (9, 13))
    (tmp_path / "label.png").write_bytes(packed_png(depth, color, values))
    np.testing.assert_array_equal(read_label(tmp_path / "label.png", 100), values)


@pytest.mark.parametrize("options", [{}, {"transparency": 0}, {"transparency": bytes(range(21))}])
def test_indices_of_a_palette_as_pascal_voc_has_them(tmp_path, options):
    values = RNG.integers(0, 21, (9, 13)).astype(np.uint8)
    values[0, 0] = 255
    image = Image.fromarray(values, "P")
    image.putpalette(RNG.integers(0, 256, 768, np.uint8).tobytes())
    (tmp_path / "label.png").write_bytes(stored(image, **options))
    np.testing.assert_array_equal(read_label(tmp_path / "label.png", 21), values)


def test_16_bits_beyond_255_can_be_named(tmp_path):
    cv2.imwrite(str(tmp_path / "label.png"), np.array([[0, 1000, 65535]], np.uint16))
    assert read_label(tmp_path / "label.png", 2, {0: 0, 1000: 1, 65535: 255}).tolist() == [[0, 1, 255]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            stored(Image.fromarray(RNG.integers(0, 9, (4, 4, 3), np.uint8))),
            "got RGB colors: colors are no ids",
        ),
        (
            stored(Image.fromarray(np.ones((4, 4), np.uint8)).convert("RGB")),
            "Its channels are equal: save one",
        ),
        (stored(Image.fromarray(np.ones((4, 4), np.uint8)).convert("LA")), "got gray with alpha"),
        (cv2.imencode(".jpg", np.ones((4, 4), np.uint8))[1].tobytes(), "must be a PNG, got JPEG, whose numbers"),
    ],
)
def test_colors_are_refused_with_the_reason(tmp_path, content, message):
    (tmp_path / "label.png").write_bytes(content)
    with pytest.raises(ImageError, match=message):
        read_label(tmp_path / "label.png", 4)


def test_a_label_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    content = bytearray(stored(Image.fromarray(np.ones((4, 4), np.uint8))))
    struct.pack_into(">II", content, 16, 20480, 20480)
    (tmp_path / "label.png").write_bytes(bytes(content))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match=r"label image .* must have at most 178956970 pixels"):
        read_label(tmp_path / "label.png", 4)
