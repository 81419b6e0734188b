"""A server of artifacts: images in and predictions out, the V2 protocol, metrics and a page.

Examples:
    >>> from hrnet_deploy import serving
    >>> application = serving.app({"w18": "w18.onnx"}, limits=serving.Limits(queue=32))
"""

from __future__ import annotations

from hrnet_deploy.errors import MissingDependencyError

try:
    from hrnet_deploy.serving.app import app
except ImportError as error:
    if (error.name or "").partition(".")[0] not in {"starlette", "python_multipart", "anyio"}:
        raise
    raise MissingDependencyError(
        f"a server needs Starlette, got: {error}. pip install 'hrnet-deploy[serve]'."
    ) from error
from hrnet_deploy.serving.limits import Limits

__all__ = ["Limits", "app"]
