import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.graph_io import shape_range
from hrnet_deploy.spec import ShapeRange

NATIVE = (224, 224)


@pytest.mark.parametrize(
    ("imgsz", "low", "opt", "high"),
    [
        (None, NATIVE, NATIVE, NATIVE),
        (320, (320, 320), (320, 320), (320, 320)),
        ("320", (320, 320), (320, 320), (320, 320)),
        ("512x1024", (512, 1024), (512, 1024), (512, 1024)),
        ("512X1024", (512, 1024), (512, 1024), (512, 1024)),
        ((512, 1024), (512, 1024), (512, 1024), (512, 1024)),
        ([512, 1024], (512, 1024), (512, 1024), (512, 1024)),
        ((320,), (320, 320), (320, 320), (320, 320)),
        ("64:224:512", (64, 64), (224, 224), (512, 512)),
        ("256:512x1024:1024x2048", (256, 256), (512, 1024), (1024, 2048)),
        ("dynamic", (64, 64), NATIVE, (2048, 4096)),
    ],
)
def test_an_image_size_is_read_in_every_form_a_user_may_write(imgsz, low, opt, high):
    assert shape_range(imgsz, 1, NATIVE) == ShapeRange((1, *low), (1, *opt), (1, *high))


@pytest.mark.parametrize(
    ("batch", "expected"),
    [(None, (1, 1, 16)), (8, (8, 8, 8)), ("8", (8, 8, 8)), ("1:8:16", (1, 8, 16)), ("4:4:4", (4, 4, 4))],
)
def test_a_batch_is_read_in_every_form_a_user_may_write(batch, expected):
    shapes = shape_range(None, batch, NATIVE)
    assert (shapes.min_nhw[0], shapes.opt_nhw[0], shapes.max_nhw[0]) == expected


@pytest.mark.parametrize(
    "imgsz",
    [
        "", "x", "224x", "x224", "224x224x3", (224, 224, 3), (), "224,224", "-224", -224, 0, "0x5", 224.0, "224.5",
        "1:2", "1:2:3:4", "64:32:128", "64:256:128", "64x64:128x32:256x256", " 224", "auto", "Dynamic", "70000", "²",
        (224, None), "9" * 5000,
    ],
)  # fmt: skip
def test_an_image_size_that_cannot_be_used_is_refused_with_what_was_given(imgsz):
    with pytest.raises(UsageError, match=r"got .*\. \w+"):
        shape_range(imgsz, None, NATIVE)


@pytest.mark.parametrize(
    "batch", ["", 0, -1, "0", "1:2", "1:2:3:4", "2:1:3", "1:3:2", "a", 1.5, "1:x:3", True, 70000, " 1", "9" * 5000]
)
def test_a_batch_that_cannot_be_used_is_refused_with_what_was_given(batch):
    with pytest.raises(UsageError, match=r"got .*\. \w+"):
        shape_range(None, batch, NATIVE)


sides = st.integers(1, 4096)
ordered = st.tuples(sides, sides, sides).map(sorted)


@given(ordered, ordered, ordered)
def test_any_range_written_out_is_read_back(batch, heights, widths):
    size = ":".join(f"{h}x{w}" for h, w in zip(heights, widths, strict=True))
    read = shape_range(size, ":".join(map(str, batch)), NATIVE)
    assert (read.min_nhw, read.opt_nhw, read.max_nhw) == tuple(zip(batch, heights, widths, strict=True))


@given(st.text(max_size=8), st.text("0123456789x:-", max_size=8))
def test_no_text_raises_anything_but_a_usage_error(imgsz, batch):
    try:
        shapes = shape_range(imgsz, batch, NATIVE)
    except UsageError:
        return
    assert min(shapes.min_nhw) >= 1
