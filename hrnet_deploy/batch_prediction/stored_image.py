"""An encoded image in a file, an archive or a table."""

from __future__ import annotations

from collections.abc import Callable

from hrnet_deploy.errors import ImageError, MissingFileError
from hrnet_deploy.imaging.sources import as_image_error


class StoredImage:
    """A named image as a binary file, whose bytes are loaded at the first read, from any thread."""

    def __init__(self, name: str, load: Callable[[], bytes]) -> None:
        self.name = name
        self._load: Callable[[], bytes] | None = load

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002 - all bytes are in memory anyway
        """Return all bytes, then none; ImageError where they cannot be loaded."""
        load, self._load = self._load, None
        if load is None:
            return b""
        try:
            content = load()
        except (ImageError, MissingFileError) as error:
            raise as_image_error(error) from error
        if not content:
            raise ImageError(f"image '{self.name}' must not be empty, got 0 bytes. Fetch it again.")
        return content
