"""Limits of a server: what one request, and all requests together, may cost."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hrnet_deploy.errors import UsageError
from hrnet_deploy.limits import IMAGE_PIXELS


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits that a server checks before it takes memory or computes.

    Attributes:
        body_bytes: largest body of a request; a tensor with the smallest batch of the largest image always passes.
        in_flight_bytes: bodies of all requests together, until their results are there; one alone always passes.
        pixels: largest image, as its header gives it; images that are decoded at a time share twice this number.
        images: most images of one request.
        queue: most images that wait for a model.
        timeout_s: time from the end of a request to its response.
        read_timeout_s: time for the head of a request, and again for its body.
        batch: most images of an inference; the artifact's own maximum where that is lower.
        batch_wait_s: time that a batch waits for more images. On a CPU, waiting costs latency and gains nothing.
    """

    body_bytes: int = 20 << 20
    in_flight_bytes: int = 256 << 20
    pixels: int = 50_000_000
    images: int = 64
    queue: int = 128
    timeout_s: float = 30.0
    read_timeout_s: float = 15.0
    batch: int = 8
    batch_wait_s: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.type == "int"
            kinds = (int,) if whole else (int, float)
            if type(value) not in kinds or not (0 <= value < float("inf")) or (value == 0 and whole):
                smallest = "a whole number, at least 1" if whole else "a number of seconds, at least 0"
                raise UsageError(f"limit '{field.name}' must be {smallest}, got {value!r:.40}. Correct it.")
        if self.pixels > IMAGE_PIXELS:
            raise UsageError(f"limit 'pixels' must be at most {IMAGE_PIXELS}, got {self.pixels}. Lower it.")
