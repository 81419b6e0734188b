"""The description of the server's routes for programs. Source: OpenAPI Specification 3.1.1."""

from __future__ import annotations

from typing import Any

from hrnet_deploy.serving.models import ServedModels
from hrnet_deploy.serving.response_format import DEFAULT_TOPK, JPEG, JSON, PNG
from hrnet_deploy.serving.served_model import ServedModel
from hrnet_deploy.serving.uploads import RAW_TYPES
from hrnet_deploy.spec import Task
from hrnet_deploy.version import VERSION

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_INDEX: Schema = {"type": "integer", "minimum": 0}
_BASE64: Schema = {"type": "string", "contentEncoding": "base64"}
_ERRORS = {
    "400": "The request cannot be used.",
    "401": "The token is missing or another one.",
    "404": "No model has this name.",
    "408": "The body did not arrive in time.",
    "413": "The body, or the number of images, is too large.",
    "415": "The body has another type.",
    "500": "The server failed.",
    "503": "The queue or the memory for bodies is full.",
    "504": "The result was not there in time.",
}


def document(models: ServedModels) -> Schema:
    """Describe every route of these models."""
    paths: Schema = {}
    if len(models.all) == 1:
        paths["/predict"] = {"post": _predict(models.all[0], models, "predict")}
    for model in models.all:
        paths[f"/models/{model.name}/predict"] = {"post": _predict(model, models, f"predict_{model.name}")}
        paths |= _v2_paths(model)
    paths |= {
        "/models": {"get": _get("models", "The models.", JSON)},
        "/metrics": {"get": _get("metrics", "Counts in the text format of Prometheus.", "text/plain")},
        "/v2": {"get": _get("v2", "The server, in the V2 protocol.", JSON)},
        "/v2/health/live": {"get": _get("live", "Whether the server runs.", JSON)},
        "/v2/health/ready": {"get": _get("ready", "Whether requests are computed; 503 where not.", JSON)},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "hrnet-serve", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": {"Error": _object({"error": _TEXT}), **{_name(model): _schema(model) for model in models.all}},
            "responses": {f"Error{status}": _error(status, text) for status, text in _ERRORS.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _predict(model: ServedModel, models: ServedModels, operation: str) -> Schema:
    """Describe the route of a model's predictions."""
    one = {"$ref": f"#/components/schemas/{_name(model)}"}
    listed = {"type": "array", "items": {"anyOf": [one, _object({"name": _TEXT, "error": _TEXT})]}}
    content: Schema = {JSON: {"schema": {"oneOf": [one, listed]}}, JPEG: {}}
    if model.card.task is Task.SEGMENTATION:
        content[PNG] = {}
    return {
        "operationId": operation,
        "summary": f"Predict with {model.name}, a model for {model.card.task.value}.",
        "parameters": _parameters(model),
        "requestBody": {"required": True, "content": _body(models.limits.images)},
        "responses": {"200": {"description": "The prediction; a list for a list.", "content": content}, **_errors()},
    }


def _body(images: int) -> Schema:
    """Describe the ways to send images."""
    file: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}
    many = {"type": "array", "items": _BASE64, "minItems": 1, "maxItems": images}
    either = [_object({"image": _BASE64}), _object({"images": many})]
    form = {"type": "object", "properties": {"image": file, "images": {"type": "array", "items": file}}}
    return {
        **{kind: {} for kind in RAW_TYPES},
        "multipart/form-data": {"schema": form},
        JSON: {"schema": {"oneOf": [schema | {"additionalProperties": False} for schema in either]}},
    }


def _parameters(model: ServedModel) -> list[Schema]:
    """Describe the query."""
    flag: Schema = {"type": "integer", "enum": [0, 1], "default": 0}
    listed = [("overlay", flag, "Add the overlay to JSON, as JPEG."), ("legend", flag, "Draw names below an overlay.")]
    if model.card.task is Task.SEGMENTATION:
        listed.append(("mask", flag, "Add the class ids of all pixels to JSON, as PNG."))
    else:
        count = {"type": "integer", "minimum": 1, "maximum": len(model.card.classes)}
        default = min(DEFAULT_TOPK, len(model.card.classes))
        listed.append(("topk", count | {"default": default}, "Number of best classes to list."))
    return [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": text}
        for name, schema, text in listed
    ]


def _schema(model: ServedModel) -> Schema:
    """Describe a prediction as JSON."""
    names = {"type": "string", "enum": sorted(set(model.card.classes))}
    common: Schema = {
        "name": _TEXT,
        "path": {"type": "null"},
        "speed": {"type": "object", "additionalProperties": _NUMBER},
    }
    optional: Schema = {"overlay": _BASE64}
    if model.card.task is Task.CLASSIFICATION:
        ranks = {"type": "array", "items": _object({"class": names, "score": _NUMBER})}
        common |= {"pred_label": _INDEX, "pred_score": _NUMBER, "pred_class": names}
        common |= {"pred_scores": {"type": "array", "items": _NUMBER}, "topk": ranks}
        optional["pred_labels"] = {"type": "array", "items": _INDEX}
    else:
        shares = {"type": "object", "propertyNames": names, "additionalProperties": _NUMBER}
        common |= {"height": _INDEX, "width": _INDEX, "shares": shares}
        optional["mask"] = _BASE64
    schema = _object(common)
    schema["properties"] |= optional
    return schema


def _v2_paths(model: ServedModel) -> Schema:
    """Describe the routes of the V2 protocol."""
    base = f"/v2/models/{model.name}"
    tensors: Schema = {JSON: {"schema": {"type": "object"}}, "application/octet-stream": {}}
    infer = {
        "operationId": f"infer_{model.name}",
        "summary": "Run the graph on tensors, in JSON or with the binary tensor extension.",
        "requestBody": {"required": True, "content": tensors},
        "responses": {"200": {"description": "The outputs.", "content": tensors}, **_errors()},
    }
    return {
        base: {"get": _get(f"metadata_{model.name}", "Tensors of the model.", JSON)},
        f"{base}/config": {"get": _get(f"config_{model.name}", "Configuration with the model card.", JSON)},
        f"{base}/ready": {"get": _get(f"ready_{model.name}", "Whether the model computes.", JSON)},
        f"{base}/infer": {"post": infer},
    }


def _get(operation: str, text: str, media_type: str) -> Schema:
    kind = "object" if media_type == JSON else "string"
    content = {media_type: {"schema": {"type": kind}}}
    return {"operationId": operation, "summary": text, "responses": {"200": {"description": text, "content": content}}}


def _errors() -> Schema:
    return {status: {"$ref": f"#/components/responses/Error{status}"} for status in _ERRORS}


def _error(status: str, text: str) -> Schema:
    described: Schema = {"description": text, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}
    if status == "503":
        described["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
    return described


def _object(properties: Schema) -> Schema:
    """Describe an object whose members are all required."""
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def _name(model: ServedModel) -> str:
    return f"Prediction_{model.name}"
