"""What a V2 server tells about a model: metadata, configuration and readiness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hrnet_deploy.artifact.card import CARD_KEY, SHA256_KEY, card_from_metadata
from hrnet_deploy.engines.remote.client import Client
from hrnet_deploy.errors import ArtifactError, DeviceError, HrnetDeployError, UsageError, one_line
from hrnet_deploy.limits import MODEL_INFO_BYTES
from hrnet_deploy.spec import ModelCard, TensorSpec
from hrnet_deploy.system.text_table import printable
from hrnet_deploy.v2_tensors import V2_DTYPES, parse_message

_MAX_TENSORS = 64
_MAX_DIMENSIONS = 8
_MAX_SIZE = 1 << 31
_MAX_CHARACTERS = 200
_BINARY = "binary_tensor_data"
_NUMPY = {v2: name for name, v2 in V2_DTYPES.items()}


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A model as its server describes it.

    Attributes:
        server: name and version of the server, such as "triton 2.51.0"; "" if it does not tell.
        binary: whether the server takes binary tensors.
        name: the model's name.
        versions: versions that the server has.
        platform: such as "onnxruntime_onnx"; "" if unknown.
        parameters: texts of the model's configuration by key; empty if the server has none.
        not_ready: why the model cannot run now; "" if it can.
    """

    server: str
    binary: bool
    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str]
    not_ready: str

    @property
    def sha256(self) -> str:
        """SHA-256 of the served file in hex, as the server reports it; "" if it does not."""
        return reported_sha256(self.parameters)

    def card(self, name: str) -> ModelCard | None:
        """Read the card in the configuration.

        Args:
            name: the model's name in errors.

        Returns:
            The card; None if there is none.

        Raises:
            ArtifactError: it cannot be read.
        """
        return card_from_metadata(self.parameters, name) if CARD_KEY in self.parameters else None


def reported_sha256(parameters: Mapping[str, str]) -> str:
    """Return the SHA-256 of a served file.

    Args:
        parameters: texts of the model's configuration by key.

    Returns:
        The digest in hex, as the server reports it; "" if it does not.
    """
    text = parameters.get(SHA256_KEY, "")
    return text if len(text) == 64 and set(text) <= set("0123456789abcdef") else ""


def read_model_info(client: Client) -> ModelInfo:
    """Read everything that a server tells about a model.

    Args:
        client: requests to the server.

    Returns:
        The description.

    Raises:
        ArtifactError: no V2 server, or no such model or version.
        DeviceError: the server is unreachable or breaks the protocol.
        UsageError: the server refuses the token, or redirects.
    """
    address = client.address
    metadata = _get(client, address.path)
    versions = metadata.get("versions", [])
    try:
        inputs, outputs = (_specs(metadata[place]) for place in ("inputs", "outputs"))
        known = tuple(map(str, versions)) if isinstance(versions, list) else ()
    except (KeyError, TypeError, ValueError) as error:
        reason = one_line(error, _MAX_CHARACTERS)
        raise ArtifactError(
            f"{address} must be a model of a V2 server, got other metadata ({reason}). Check the URL."
        ) from error
    if address.version is not None and known and address.version not in known:
        listed = printable(", ".join(known)[:_MAX_CHARACTERS])
        raise ArtifactError(
            f"version of {address} must be one the server has, {listed}, got {address.version}. Use one of those."
        )
    server = _optional(client, address.server_path)
    return ModelInfo(
        server=" ".join(_text(server.get(key)) for key in ("name", "version")).strip(),
        binary=_BINARY in server["extensions"] if isinstance(server.get("extensions"), list) else True,
        name=_text(metadata.get("name")) or address.model,
        versions=known,
        platform=_text(metadata.get("platform")),
        inputs=inputs,
        outputs=outputs,
        parameters=_parameters(_optional(client, f"{address.path}/config")),
        not_ready=_not_ready(client),
    )


def _not_ready(client: Client) -> str:
    """Return why the model cannot run now."""
    try:
        body = client.get(f"{client.address.path}/ready", MODEL_INFO_BYTES).body
    except HrnetDeployError as error:
        return one_line(error)
    try:
        content = parse_message(bytes(body)) if body else {}
    except ValueError:
        return ""
    return "the server reports it as not ready" if content == {**content, "ready": False} else ""


def _get(client: Client, path: str) -> dict[str, Any]:
    """Fetch a JSON object."""
    body = client.get(path, MODEL_INFO_BYTES).body
    try:
        content = parse_message(bytes(body))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        shown = one_line(bytes(body[:40]))
        raise ArtifactError(f"{client.address} must be a model of a V2 server, got {shown} from it. Check the URL.")
    return content


def _optional(client: Client, path: str) -> dict[str, Any]:
    """Fetch a JSON object that a server need not have."""
    try:
        return _get(client, path)
    except (ArtifactError, UsageError):
        return {}


def _parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of a configuration's parameters."""
    table = config.get("parameters")
    entries = table.items() if isinstance(table, dict) else ()
    texts = ((key, entry.get("string_value")) for key, entry in entries if isinstance(entry, dict))
    return {key: text for key, text in texts if isinstance(text, str)}


def _specs(entries: Any) -> tuple[TensorSpec, ...]:
    """Read the tensors of metadata; an open size gets a name."""
    if not isinstance(entries, list) or not 0 < len(entries) <= _MAX_TENSORS:
        raise ValueError("no list of tensors")
    specs = []
    for entry in entries:
        name, datatype, shape = entry["name"], entry["datatype"], entry["shape"]
        known = isinstance(name, str) and datatype in _NUMPY and isinstance(shape, list)
        # Some servers write sizes as texts, as protocol buffers do for 64 bits.
        sizes = [int(size) for size in shape if isinstance(size, int | str)] if known else []
        if (
            not known
            or not len(shape) == len(sizes) <= _MAX_DIMENSIONS
            or not all(-1 <= size < _MAX_SIZE for size in sizes)
        ):
            raise ValueError(f"tensor {entry!r:.80}")
        named = [f"{name}_{axis}" if axis else "batch" for axis in range(len(sizes))]
        dims = tuple(label if size == -1 else size for label, size in zip(named, sizes, strict=True))
        specs.append(TensorSpec(name, _NUMPY[datatype], dims))
    return tuple(specs)


def _text(value: Any) -> str:
    return one_line(value, _MAX_CHARACTERS) if isinstance(value, str) else ""


def check_ready(info: ModelInfo, name: str) -> None:
    """Refuse a model that cannot run now.

    Raises:
        DeviceError: it is not ready.
    """
    if info.not_ready:
        raise DeviceError(f"{name} must be ready, got: {info.not_ready}")
