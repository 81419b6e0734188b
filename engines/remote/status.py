"""HTTP status codes of a V2 server as errors of one line."""

from __future__ import annotations

import http.client

from hrnet_deploy.engines.remote.address import ModelUrl
from hrnet_deploy.errors import ArtifactError, DeviceError, HrnetDeployError, UsageError, one_line
from hrnet_deploy.system.text_table import printable
from hrnet_deploy.v2_tensors import parse_message

_MAX_CHARACTERS = 300
_MAX_HEADER_CHARACTERS = 200


def status_error(address: ModelUrl, method: str, reply: http.client.HTTPResponse, body: bytes) -> HrnetDeployError:
    """Explain a status other than 200.

    Args:
        address: the model's URL.
        method: "GET" for a question about the model, "POST" for an inference.
        reply: the response.
        body: the start of its body.

    Returns:
        UsageError for a request or token that the server refuses, ArtifactError for a model that it does not know, or
        DeviceError.
    """
    status, reason = reply.status, _reason(reply, body)
    if 300 <= status < 400:
        target = printable(reply.headers.get("Location", "nowhere")[:_MAX_HEADER_CHARACTERS])
        return UsageError(
            f"{address} must be the server itself, got a redirect ({status}) to {target}, which is not followed. Give "
            "that URL if you trust it."
        )
    if status in {401, 403}:
        return UsageError(
            f"{address} must accept the token, got {reason}. Give a valid one by --token-file (in Python: token=)."
        )
    if status in {404, 405, 410, 501} or (status == 400 and method == "GET"):  # Triton's status for an unknown model
        return ArtifactError(f"{address} must be a model of a V2 server, got {reason}. Check host, name and version.")
    if status == 413:
        return UsageError(f"{address} must take a request of this size, got {reason}. Use a smaller batch.")
    if status in {429, 503, 504}:
        wait = reply.headers.get("Retry-After")
        when = "" if wait is None else f" after {printable(wait[:40])}" + (" s" if wait.isdigit() else "")
        return DeviceError(f"{address} must have time for a request, got {reason}. Try again{when or ' later'}.")
    if 400 <= status < 500:
        return UsageError(f"{address} must accept the request, got {reason}. Compare hrnet-inspect {address}.")
    return DeviceError(f"{address} must serve the request, got {reason}. Check the server's log.")


def sentence(body: bytes) -> str:
    """Return the error of a V2 body as one printable line; "" where it holds none."""
    try:
        content = parse_message(body)
        text = content["error"] if isinstance(content["error"], str) else ""
    except (ValueError, KeyError, TypeError):
        return ""
    return printable(one_line(text, _MAX_CHARACTERS))


def _reason(reply: http.client.HTTPResponse, body: bytes) -> str:
    text = sentence(body)
    if not text and reply.headers.get_content_type() == "text/html":
        text = "a web page"
    return f"HTTP {reply.status}" + (f" ({text})" if text else f" {printable(reply.reason[:60])}".rstrip())
