"""POST /predict: every way to send images, every form of a prediction, and equality with the local predictor."""

import base64
import json

import cv2
import numpy as np
import pytest
from helpers.http_server import form

PHOTOS, CITY = "/models/photos/predict", "/models/city/predict"


def plain(record):
    """A record without what differs between runs."""
    return {key: value for key, value in record.items() if key not in {"name", "speed", "topk"}}


def local(predictor, content):
    return plain(predictor.predict(content).to_dict())


def encoded(content):
    return base64.b64encode(content).decode()


def test_a_raw_body_gives_the_prediction_of_the_local_model(server, photos, street, jpegs):
    for content in jpegs:
        status, record = server.post(PHOTOS, content, "image/jpeg")
        assert status == 200
        assert plain(record) == local(photos, content)
        assert record["topk"] == [{"class": name, "score": score} for name, score in photos.predict(content).topk(5)]
        assert set(record["speed"]) == {"preprocess", "inference", "postprocess"}
        assert plain(server.post(CITY, content)[1]) == local(street, content)


@pytest.mark.parametrize("content_type", ["", "image/png", "application/x-www-form-urlencoded"])
def test_a_raw_body_needs_no_type(server, photos, jpegs, content_type):
    assert plain(server.post(PHOTOS, jpegs[0], content_type)[1]) == local(photos, jpegs[0])


def test_a_form_with_one_image_gives_one_prediction(server, photos, jpegs):
    status, record = server.post(PHOTOS, *form(("image", "C:\\fotos\\a cat.jpg", jpegs[1])))
    assert (status, record["name"], plain(record)) == (200, "a cat.jpg", local(photos, jpegs[1]))


def test_a_form_with_many_images_gives_a_list(server, photos, jpegs):
    files = [("images", f"{index}.jpg", content) for index, content in enumerate(jpegs)]
    files.insert(2, ("images", "notes.txt", b"no image"))
    status, records = server.post(PHOTOS, *form(*files))
    assert status == 200
    assert [record["name"] for record in records] == ["0.jpg", "1.jpg", "notes.txt", "2.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert set(records.pop(2)) == {"name", "error"}
    assert [plain(record) for record in records] == [local(photos, content) for content in jpegs]
    assert isinstance(server.post(PHOTOS, *form(files[0]))[1], list)


def test_json_takes_base64(server, photos, jpegs):
    for text in (encoded(jpegs[0]), f"data:image/jpeg;base64,{encoded(jpegs[0])}"):
        status, record = server.post(PHOTOS, json.dumps({"image": text}), "application/json; charset=utf-8")
        assert (status, plain(record)) == (200, local(photos, jpegs[0]))
    listed = [encoded(jpegs[2]), "http://169.254.169.254/", 7, "/etc/passwd", encoded(b"text")]
    status, records = server.post(PHOTOS, json.dumps({"images": listed}), "application/json")
    assert status == 200
    assert plain(records[0]) == local(photos, jpegs[2])
    assert [sorted(record) for record in records[1:]] == [["error", "name"]] * 4
    assert "none is fetched" in records[1]["error"]


def test_topk_is_chosen_by_the_query(server, photos, jpegs):
    for count in (1, 3, 10):
        record = server.post(f"{PHOTOS}?topk={count}", jpegs[0])[1]
        assert [one["class"] for one in record["topk"]] == [name for name, _ in photos.predict(jpegs[0]).topk(count)]


@pytest.mark.parametrize("accept", ["image/png", "image/png;q=0.9, application/json;q=0.5", "text/html, image/png"])
def test_a_mask_is_a_png_of_class_ids(server, street, jpegs, accept):
    status, headers, body = server.request("POST", CITY, jpegs[0], {"Accept": accept})
    assert (status, headers["Content-Type"]) == (200, "image/png")
    mask = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, street.predict(jpegs[0]).mask)


def test_an_overlay_is_a_jpeg(server, street, jpegs):
    def decoded(path):
        body = server.request("POST", path, jpegs[0], {"Accept": "image/jpeg"})[2]
        return cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)

    assert decoded(CITY).shape == (120, 160, 3)
    assert decoded(f"{PHOTOS}?legend=1").shape[0] > 120
    want = cv2.imencode(".jpg", street.predict(jpegs[0]).overlay(legend=False))[1]
    np.testing.assert_array_equal(decoded(CITY), cv2.imdecode(want, cv2.IMREAD_COLOR))


def test_json_can_hold_mask_and_overlay(server, street, jpegs):
    record = server.post(f"{CITY}?mask=1&overlay=1", jpegs[0])[1]
    mask = cv2.imdecode(np.frombuffer(base64.b64decode(record["mask"]), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, street.predict(jpegs[0]).mask)
    assert base64.b64decode(record["overlay"]).startswith(b"\xff\xd8")


def bomb():
    """A PNG whose header names 10^10 pixels."""
    content = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    return bytes(content)


@pytest.mark.parametrize(
    ("path", "body", "content_type", "status", "sentence"),
    [
        (PHOTOS, b"", "image/jpeg", 400, "must be an image, got 0 bytes"),
        (PHOTOS, b"no image", "image/jpeg", 400, "cannot be decoded"),
        (PHOTOS, bomb(), "image/png", 400, "at most"),
        (PHOTOS, cv2.imencode(".png", np.zeros((1001, 1000, 3), np.uint8))[1].tobytes(), "", 400, "1,000,000 pixels"),
        (PHOTOS, b"x" * 3_000_000, "image/jpeg", 413, "at most 2,000,000 bytes"),
        (PHOTOS, b"a=b", "text/plain", 415, "Content-Type must be"),
        (PHOTOS, b"{", "application/json", 400, "must be JSON"),
        (PHOTOS, b"[" * 100_000, "application/json", 400, "must be JSON"),
        (PHOTOS, b'{"image": "http://localhost/"}', "application/json", 400, "must be base64"),
        (PHOTOS, b'{"image": ["/etc/passwd"]}', "application/json", 400, "text in base64"),
        (PHOTOS, b'{"path": "/etc/passwd"}', "application/json", 400, "'image' or 'images', got 'path'"),
        (PHOTOS, b'{"images": []}', "application/json", 400, "at least one"),
        (PHOTOS, b'{"images": ' + json.dumps([""] * 65).encode() + b"}", "application/json", 413, "at most 64 images"),
        (PHOTOS, *form(("file", "a.jpg", b"x")), 400, "'image' or 'images', got 'file'"),
        (PHOTOS, *form(*[("images", "a", b"x")] * 65), 413, "at most 64 images"),
        (PHOTOS, form(("image", "a", b"x"))[0][:-5], "multipart/form-data; boundary=b0undary", 400, "whole form"),
        (PHOTOS, b"xx", "multipart/form-data; boundary=b", 400, "form"),
        (PHOTOS, b"xx", "multipart/form-data", 400, "boundary"),
        (PHOTOS + "?topk=0", b"x", "", 400, "topk must be a number from 1 to 10"),
        (PHOTOS + "?topk=11", b"x", "", 400, "from 1 to 10"),
        (PHOTOS + "?k=1", b"x", "", 400, "must be one of topk"),
        (PHOTOS + "?topk=1&topk=2", b"x", "", 400, "once"),
        (PHOTOS + "?mask=1", b"x", "", 400, "needs a model that segments"),
        (CITY + "?topk=1", b"x", "", 400, "classification only"),
        (CITY + "?mask=yes", b"x", "", 400, "1 or 0"),
        (CITY + "?legend=1", b"x", "", 400, "needs an overlay"),
        ("/predict", b"x", "", 400, "/models/photos/predict"),
        ("/models/dog/predict", b"x", "", 404, "one of photos, city"),
        ("/models/photos/predict/", b"x", "", 404, "path must be"),
        ("/nothing", b"x", "", 404, "path must be"),
        ("/models", b"x", "", 405, "GET"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else None,
)
def test_what_cannot_be_used_is_refused_in_one_sentence(server, path, body, content_type, status, sentence):
    got, record = server.post(path, body, content_type)
    assert (got, list(record)) == (status, ["error"])
    assert sentence in record["error"]
    assert "\n" not in record["error"]


def test_a_list_has_no_single_mask(server, jpegs):
    body, content_type = form(("images", "a", jpegs[0]))
    status, record = server.post(CITY, body, content_type, Accept="image/png")
    assert (status, "list of images needs JSON" in record["error"]) == (400, True)


def test_an_image_beyond_the_range_of_the_card_is_refused(server):
    wide = cv2.imencode(".png", np.zeros((10, 5000, 3), np.uint8))[1].tobytes()
    status, record = server.post(CITY, wide)
    assert (status, "at most 2048x4096" in record["error"]) == (400, True)


def test_headers_keep_browsers_careful(server, jpegs):
    headers = server.request("POST", PHOTOS, jpegs[0])[1]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Access-Control-Allow-Origin"] is None
    assert headers["Server"] is None
