"""Images in the body of a request: the body itself, the files of a form, or base64 in JSON."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from hrnet_deploy.serving.http_error import HttpError
from hrnet_deploy.v2_tensors import parse_message

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

RAW_TYPES = ("image/*", "application/octet-stream")
"""Media types of a body that is one image."""

_NAME_LIMIT = 200
_JSON_VALUES = 10_000
_FIELDS = ("image", "images")
_DATA_URL = re.compile(r"data:[\w/+.-]*;base64,")
_FORM_OF_CURL = "application/x-www-form-urlencoded"  # what `curl --data-binary @cat.jpg` declares


@dataclass(frozen=True)
class Upload:
    """One image, or the reason why there is none.

    Attributes:
        content: the encoded image.
        error: what the client reads in place of a result.
    """

    name: str
    content: bytes = b""
    error: str | None = None


@dataclass(frozen=True)
class Uploads:
    """The images of a request.

    Attributes:
        is_list: the client sent a list, and receives one.
    """

    images: list[Upload]
    is_list: bool


def is_raw(content_type: str) -> bool:
    """Decide whether a body of this type is one image."""
    kind = _media_type(content_type)
    return kind.startswith("image/") or kind in {"", "application/octet-stream", _FORM_OF_CURL}


def read_uploads(content_type: str, body: bytes, limit: int) -> Uploads:
    """Find the images of a body.

    Args:
        content_type: its declared type.
        body: its content.
        limit: largest number of images.

    Returns:
        The images; one of a list that cannot be read has an error.

    Raises:
        HttpError: 400 for a malformed body, 413 for too many images, 415 for another type.
    """
    if is_raw(content_type):
        if not body:
            raise HttpError(400, "body must be an image, got 0 bytes. Send its file: curl --data-binary @cat.jpg URL.")
        return Uploads([Upload("image_0", body)], is_list=False)
    kind = _media_type(content_type)
    if kind == "multipart/form-data":
        return _read_form(content_type, body, limit)
    if kind == "application/json":
        return _read_json(body, limit)
    raise HttpError(
        415,
        f"Content-Type must be {RAW_TYPES[0]}, {RAW_TYPES[1]}, multipart/form-data or application/json, got {kind:.60}."
        " Name the one that the body has.",
    )


def too_many(limit: int, got: int) -> HttpError:
    """Describe a request with too many images."""
    return HttpError(413, f"a request must have at most {limit} images, got {got}. Send several requests.")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _read_json(body: bytes, limit: int) -> Uploads:
    """Read {"image": base64} or {"images": [base64, ...]}."""
    try:
        content = parse_message(body, max(_JSON_VALUES, 4 * limit))
    except ValueError as error:
        raise HttpError(400, f"body must be JSON, got {body[:40]!r} ({error!s:.80}). Correct it.") from error
    names = list(content) if isinstance(content, dict) else []
    if names not in (["image"], ["images"]):
        got = ", ".join(f"'{name:.40}'" for name in names[:5]) or type(content).__name__
        raise HttpError(400, f"body must be a JSON object with 'image' or 'images', got {got}. Send one of them.")
    if names == ["image"]:
        upload = _from_base64("image_0", content["image"])
        if upload.error is not None:
            raise HttpError(400, upload.error)
        return Uploads([upload], is_list=False)
    values = content["images"]
    if not isinstance(values, list) or not values:
        raise HttpError(400, f"'images' must be a list of texts in base64, got {values!r:.60}. Send at least one.")
    if len(values) > limit:
        raise too_many(limit, len(values))
    return Uploads([_from_base64(f"image_{index}", value) for index, value in enumerate(values)], is_list=True)


def _from_base64(name: str, value: Any) -> Upload:
    """Decode one image of JSON; anything but base64, such as a URL or a path, is an error."""
    if not isinstance(value, str):
        return Upload(name, error=f"image '{name}' must be a text in base64, got {type(value).__name__}. Encode it.")
    prefix = _DATA_URL.match(value[:_NAME_LIMIT])
    try:
        content = base64.b64decode(value[prefix.end() if prefix else 0 :], validate=True)
    except (binascii.Error, ValueError):
        shown = value[:40]
        return Upload(
            name, error=f"image '{name}' must be base64, got {shown!r}. Send the file's content; none is fetched."
        )
    return Upload(name, content)


class _Form:
    """The files of a form, as its parser finds them."""

    def __init__(self, limit: int) -> None:
        self.files: list[tuple[str, Upload]] = []
        self.complete = False
        self._limit = limit
        self._header = [b"", b""]
        self._disposition = b""
        self._parts: list[bytes] = []

    def callbacks(self) -> MultipartCallbacks:
        """Return the functions that the parser calls."""
        return {
            "on_part_begin": self.on_part_begin,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_part_data": self.on_part_data,
            "on_part_end": self.on_part_end,
            "on_end": self.on_end,
        }

    def on_part_begin(self) -> None:
        """Begin a part; refuse one too many before its content."""
        if len(self.files) >= self._limit:
            raise too_many(self._limit, self._limit + 1)
        self._disposition, self._parts = b"", []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a header's name."""
        self._header[0] += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of a header's value."""
        self._header[1] += data[start:end]

    def on_header_end(self) -> None:
        """Keep the one header that counts."""
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = [b"", b""]

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Take a piece of the content."""
        self._parts.append(data[start:end])

    def on_part_end(self) -> None:
        """Keep the file."""
        options = parse_options_header(self._disposition)[1]
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field not in _FIELDS:
            raise HttpError(400, f"fields of the form must be 'image' or 'images', got '{field:.60}'. Rename it.")
        name = _file_name(options.get(b"filename", b"").decode("utf-8", "replace")) or f"image_{len(self.files)}"
        self.files.append((field, Upload(name, b"".join(self._parts))))

    def on_end(self) -> None:
        """Note the last boundary."""
        self.complete = True


def _read_form(content_type: str, body: bytes, limit: int) -> Uploads:
    """Read the files of a form: one in the field 'image' is an image, others are a list."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise HttpError(400, "multipart/form-data must name its boundary, got none. Let the client write the header.")
    form = _Form(limit)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise HttpError(400, f"body must be a form of its boundary, got a damaged one ({error!s:.80}).") from error
    if not form.complete or not form.files:
        got = "a part of one" if not form.complete else "one without files"
        raise HttpError(400, f"body must be a whole form with files, got {got}. Send it again.")
    uploads = [upload for _, upload in form.files]
    return Uploads(uploads, is_list=len(uploads) > 1 or form.files[0][0] == "images")


def _file_name(text: str) -> str:
    """Return the last part of a client's path, as far as it can be shown."""
    name = text.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in name if letter.isprintable())[:_NAME_LIMIT]
