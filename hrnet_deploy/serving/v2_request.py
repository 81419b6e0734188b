"""A request of the V2 protocol: tensors, and the outputs that the client selects.

The protocol leaves unknown parameters open; they are refused here, because one without effect would mislead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.v2_tensors import read_message

_MEMBERS = frozenset({"id", "parameters", "inputs", "outputs"})


@dataclass
class InferRequest:
    """What a client requests.

    Attributes:
        id: its own name of the request; None for none.
        outputs: names of outputs in order, and whether each is binary.
        rows: entries of the batch, which the server fills in.
    """

    id: str | None
    inputs: Tensors
    outputs: dict[str, bool]
    rows: Sequence[NDArray[np.generic]] = field(default_factory=tuple)


def read_request(body: bytes, header_length: int | None, names: Sequence[str]) -> InferRequest:
    """Read a request.

    Args:
        body: its whole body.
        header_length: size of the JSON where binary tensors follow.
        names: outputs of the model.

    Returns:
        The request, without rows.

    Raises:
        UsageError: malformed, or with a member, parameter or output that does not exist.
    """
    message, inputs = read_message(body, header_length, "inputs")
    unknown = sorted(set(message) - _MEMBERS)
    if unknown:
        raise UsageError(f"request must have the members of the V2 protocol, got '{unknown[0]:.40}'. Leave it out.")
    own = message.get("id")
    if own is not None and (not isinstance(own, str) or len(own) > 1000):
        raise UsageError(f"id must be a text of at most 1000 characters, got {own!r:.40}. Correct it.")
    for entry in message["inputs"]:
        _parameters(entry, "binary_data_size")
    all_binary = _flag(_parameters(message, "binary_data_output"), "binary_data_output", default=False)
    entries = message.get("outputs") or [{"name": name} for name in names]
    return InferRequest(own, inputs, _outputs(entries, names, all_binary=all_binary))


def _outputs(entries: Any, names: Sequence[str], *, all_binary: bool) -> dict[str, bool]:
    """Read the selection of outputs."""
    if not isinstance(entries, list):
        raise UsageError(f"outputs must be a list, got {entries!r:.60}. Correct it.")
    chosen: dict[str, bool] = {}
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name not in names or name in chosen:
            raise UsageError(f"each output must be one of {', '.join(names)}, once, got {entry!r:.60}. Correct it.")
        chosen[name] = _flag(_parameters(entry, "binary_data"), "binary_data", default=all_binary)
    return chosen


def _parameters(entry: dict[str, Any], known: str) -> dict[str, Any]:
    """Return the parameters of an object; refuse those without effect."""
    parameters = entry.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise UsageError(f"parameters must be an object, got {parameters!r:.60}. Correct it.")
    unknown = sorted(set(parameters) - {known})
    if unknown:
        raise UsageError(f"parameter must be {known}, got '{unknown[0]:.60}', which has no effect here. Leave it out.")
    return parameters


def _flag(parameters: dict[str, Any], name: str, *, default: bool) -> bool:
    """Read a parameter that is true or false."""
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be true or false, got {value!r:.40}. Correct it.")
    return value
