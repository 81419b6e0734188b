"""Errors of requests, as statuses of HTTP with a sentence for the client."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

from hrnet_deploy.errors import ImageError, MissingFileError, UsageError, one_line

_SENTENCE_LIMIT = 500


class HttpError(Exception):
    """A request that is refused.

    Attributes:
        status: status code of HTTP.
        sentence: what the client reads.
        headers: headers of the response.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = one_line(sentence, _SENTENCE_LIMIT)
        self.headers = dict(headers or {})


def bad_request(error: UsageError | ImageError | MissingFileError) -> HttpError:
    """Convert an error that the client's data caused."""
    return HttpError(400, str(error))


def internal_error() -> HttpError:
    """Describe a failure of the server without internals, which its log has."""
    return HttpError(500, "the server failed on this request, got an internal error. Its log has the cause.")


def error_response(error: HttpError) -> JSONResponse:
    """Write an error as JSON."""
    return JSONResponse({"error": error.sentence}, error.status, error.headers)
