"""Images in bodies: what clients sent comes out, and anything else is a refusal."""

import base64
import json

import pytest
from helpers.http_server import form
from hypothesis import given, settings
from hypothesis import strategies as st

from hrnet_deploy.serving.http_error import HttpError
from hrnet_deploy.serving.response_format import JPEG, JSON, PNG, _preferred
from hrnet_deploy.serving.uploads import read_uploads

CONTENTS = st.lists(st.binary(max_size=200) | st.just(b"\r\n--b0undar\r\n--b0undary"), min_size=1, max_size=5)


@settings(deadline=None)
@given(CONTENTS)
def test_files_of_a_form_come_out_as_they_went_in(contents):
    contents = [content.replace(b"--b0undary", b"") for content in contents]
    body, content_type = form(*[("images", f"{index}.jpg", content) for index, content in enumerate(contents)])
    found = read_uploads(content_type, body, 5)
    assert found.is_list
    assert [upload.content for upload in found.images] == contents
    assert [upload.name for upload in found.images] == [f"{index}.jpg" for index in range(len(contents))]


@settings(deadline=None)
@given(CONTENTS)
def test_base64_comes_out_as_it_went_in(contents):
    body = json.dumps({"images": [base64.b64encode(content).decode() for content in contents]}).encode()
    assert [upload.content for upload in read_uploads("application/json", body, 5).images] == contents


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["image/png", "application/json", "multipart/form-data; boundary=b0undary", "text/plain", "é; ="]),
    st.binary(max_size=300)
    | st.text(max_size=60).map(lambda text: b"--b0undary\r\n" + text.encode())
    | st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ).map(lambda value: json.dumps({"images": value}).encode()),
)
def test_any_body_is_read_or_refused(content_type, body):
    refusal = None
    try:
        found = read_uploads(content_type, body, 5)
    except HttpError as error:
        refusal = error
    if refusal is None:
        assert 1 <= len(found.images) <= 5
    else:
        assert refusal.status in {400, 413, 415}
        assert "\n" not in refusal.sentence


@pytest.mark.parametrize(
    ("sent", "name"),
    [("../../etc/passwd", "passwd"), ("C:\\a\\b.jpg", "b.jpg"), ("", "image_0"), ("a\x00\x1b[2Jb.png", "a[2Jb.png")],
)
def test_a_file_name_is_its_last_printable_part(sent, name):
    assert read_uploads(*reversed(form(("image", sent.replace("\\", "\\\\"), b"x"))), 1).images[0].name == name


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("image/png", PNG),
        ("image/jpeg, image/png", JPEG),
        ("image/png;q=0.5, image/jpeg;q=0.8", JPEG),
        ("image/png;q=0, */*;q=0.1", JSON),
        ("text/html,application/xhtml+xml", JSON),
        ("application/json;q=0.9, image/png;q=x", JSON),
        ("image/*", JPEG),
        (",;,q=1;;", JSON),
    ],
)
def test_the_accepted_type_with_the_largest_weight_is_chosen(accept, chosen):
    assert _preferred(accept) == chosen
