"""The model card as metadata of an artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hrnet_deploy.artifact.known_classes import pack_classes, unpack_classes
from hrnet_deploy.errors import ArtifactError, one_line
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import CARD_CHARACTERS
from hrnet_deploy.spec import ModelCard

CARD_KEY = "hrnet_deploy.card"
"""Key of the card in ONNX `metadata_props`, and in the configuration of a served model."""
SHA256_KEY = "hrnet_deploy.sha256"
"""Key of the file's digest in hex in the configuration of a served model; those of its runtime follow."""
ARITHMETIC_KEY = "hrnet_deploy.arithmetic"
BACKEND_KEY = "hrnet_deploy.backend"
DEVICE_KEY = "hrnet_deploy.device"


def card_metadata(card: ModelCard) -> dict[str, str]:
    """Write a card as string metadata under `CARD_KEY`, with well-known class lists by name."""
    content = json.loads(card.to_json())
    content["classes"] = pack_classes(card.classes)
    return {CARD_KEY: json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)}


def unpack_card(content: dict[str, Any]) -> ModelCard:
    """Read a card whose class list may be a name."""
    return ModelCard.from_json(json.dumps({**content, "classes": unpack_classes(content["classes"])}))


def card_from_metadata(metadata: Mapping[str, str], name: str) -> ModelCard:
    """Read the card in the string metadata of an artifact; ArtifactError where there is none, or an unusable one."""
    text = metadata.get(CARD_KEY)
    if text is None:
        raise ArtifactError(
            f"artifact must carry a model card, got none in {name}. "
            f"Make one: hrnet-export {name} --task classification|segmentation -o NEW.onnx"
        )
    if len(text) > CARD_CHARACTERS:
        raise ArtifactError(
            f"card of {name} must have at most {CARD_CHARACTERS} characters, got {len(text):,}. Export it again."
        )
    try:
        return unpack_card(parse_json(text))
    except ArtifactError as error:
        raise ArtifactError(f"{name}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else one_line(error, 300)
        raise ArtifactError(f"{name}: model card cannot be read ({reason}). Export the artifact again.") from error
