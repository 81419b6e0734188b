"""The page at `/`, where a person drops an image and sees the prediction, and the list of models that it reads."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hrnet_deploy.imaging.palettes import colors_of
from hrnet_deploy.serving.models import ServedModels
from hrnet_deploy.serving.response_format import compact_json
from hrnet_deploy.serving.served_model import ServedModel
from hrnet_deploy.spec import Task


async def page(_: Request) -> Response:
    """Return the page; nothing outside of it is loaded, and no other page may frame it."""
    content, policy = _page()
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
    return Response(content, media_type="text/html", headers=headers)


async def models(request: Request) -> Response:
    """List the models for the page and for programs."""
    served: ServedModels = request.app.state.models
    limits = {"body_bytes": served.limits.body_bytes, "images": served.limits.images, "pixels": served.limits.pixels}
    return json_response({"models": [_described(model) for model in served.all], "limits": limits})


def json_response(value: Any) -> Response:
    """Write JSON on one line."""
    return Response(compact_json(value), media_type="application/json")


@functools.cache
def _page() -> tuple[bytes, str]:
    """Read the page and write its policy, which names the digests of its script and style."""
    content = files("hrnet_deploy.serving").joinpath("page.html").read_bytes()
    policy = ["default-src 'none'"]
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        found = re.search(rf"<{element}>(.*?)</{element}>".encode(), content, re.DOTALL)
        digest = hashlib.sha256(found[1] if found else b"").digest()
        policy.append(f"{directive} 'sha256-{base64.b64encode(digest).decode()}'")
    policy += ["img-src blob: data:", "connect-src 'self'", "base-uri 'none'", "form-action 'none'"]
    return content, "; ".join([*policy, "frame-ancestors 'none'"])


def _described(model: ServedModel) -> dict[str, Any]:
    """Describe a model to a person: what it predicts, and what computes it."""
    card, predictor = model.card, model.predictor
    described: dict[str, Any] = {
        "name": model.name,
        "task": card.task.value,
        "variant": card.variant,
        "precision": card.precision.value,
        "arithmetic": predictor.arithmetic,
        "device": predictor.device,
        "backend": predictor.backend,
        "streams": predictor.streams,
        "sha256": model.sha256,
        "classes": list(card.classes),
    }
    if card.task is Task.SEGMENTATION:
        described["palette"] = colors_of(card).tolist()
    return described
