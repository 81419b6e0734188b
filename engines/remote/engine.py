"""A model on a V2 server behind the `Engine` protocol."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.card import ARITHMETIC_KEY, BACKEND_KEY
from hrnet_deploy.engines.feed import agrees, check_array, check_names
from hrnet_deploy.engines.remote.client import Client, Response
from hrnet_deploy.engines.remote.model_info import ModelInfo, check_ready, read_model_info
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.errors import ArtifactError, DeviceError, UsageError, one_line
from hrnet_deploy.limits import RESPONSE_BYTES, RESPONSE_JSON_BYTES, STREAMS
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.spec import ModelCard, TensorSpec
from hrnet_deploy.system.text_table import printable
from hrnet_deploy.v2_tensors import HEADER_LENGTH, read_message, write_message

BACKEND = "v2"
"""Name of the backend, where the server does not name its own."""

_STREAMS = 4
_PLATFORMS = {"onnxruntime_onnx": "onnxruntime", "tensorrt_plan": "tensorrt"}
_JSON_LIMIT_BYTES = 64 << 10
_JSON_VALUE_BYTES = 40
"""Limit of one value as JSON, with its separators: a float64 has up to 24 characters."""
_MAX_CHARACTERS = 200


class RemoteEngine:
    """A model on a V2 server; safe to run from several threads, each with a connection of its own.

    Attributes:
        device: the server, such as "http://localhost:8000".
        backend: the server's runtime, or "v2" where the server does not name it.
        arithmetic: as the server names it, or "".
        streams: requests in flight for several images, which the server may join to batches.
        metadata: texts of the parameters in the model's configuration.
    """

    def __init__(self, served: RemoteModel, *, streams: int | None = 1) -> None:
        """Connect and read the model's description; `streams` is None for the default."""
        if streams is not None and not 1 <= streams <= STREAMS:
            raise UsageError(f"streams must be 1 to {STREAMS}, got {streams}. Use 1 for one request at a time.")
        self._name = str(served)
        self._client = Client(served)
        try:
            info = read_model_info(self._client)
            check_ready(info, self._name)
            self.inputs, self.outputs = _specs(info, served.card or info.card(self._name), self._name)
        except BaseException:
            self._client.close()
            raise
        self.metadata = info.parameters
        self.device = self._client.address.origin
        self.backend = _word(info.parameters.get(BACKEND_KEY)) or _PLATFORMS.get(info.platform, BACKEND)
        self.arithmetic = _word(info.parameters.get(ARITHMETIC_KEY))
        self.streams = streams or _STREAMS
        self._as_json = () if info.binary else tuple(one.name for one in self.inputs)
        self._numbers = itertools.count(1)

    def run(self, feed: Mapping[str, NDArray[np.generic]]) -> Tensors:
        """Compute every output for one batch, as `Engine.run`.

        A request is never sent twice once the server may have computed it.
        """
        if self._client.closed:
            raise DeviceError(f"{self._name} must be open to run, got a closed engine. Open it again.")
        check_names(self.inputs, feed)
        for one in self.inputs:
            if not isinstance(feed[one.name], np.ndarray):
                raise UsageError(
                    f"input '{one.name}' must be a NumPy array, got {type(feed[one.name]).__name__}. Convert it."
                )
            check_array(one, feed[one.name])
        shapes = {one.name: _output_shape(one, self.inputs, feed) for one in self.outputs}
        identity = str(next(self._numbers))
        response = self._client.post(
            f"{self._client.address.path}/infer", *self._message(identity, feed), self._limit(shapes)
        )
        return self._outputs(response, identity, shapes)

    def close(self) -> None:
        """Close the connections; the engine cannot run afterwards."""
        self._client.close()

    def _message(
        self, identity: str, feed: Mapping[str, NDArray[np.generic]]
    ) -> tuple[dict[str, str], list[bytes | memoryview]]:
        """Write headers and body of a request for every output."""
        wanted = [{"name": one.name, "parameters": {"binary_data": True}} for one in self.outputs]
        tensors = {one.name: feed[one.name] for one in self.inputs}
        fields = {"id": identity, "outputs": wanted}
        if self._as_json:
            fields = {"id": identity, "outputs": [{"name": one.name} for one in self.outputs]}
        text, binary = write_message(fields, "inputs", tensors, as_json=self._as_json)
        if not binary:
            return {"Content-Type": "application/json"}, [text]
        return {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}, [text, *binary]

    def _limit(self, shapes: Mapping[str, tuple[int, ...]]) -> Callable[[int | None], int]:
        """Return the largest body of a response, by its number of bytes of JSON."""
        counts = {name: math.prod(map(abs, shape)) for name, shape in shapes.items()}
        binary = sum(counts[one.name] * np.dtype(one.dtype).itemsize for one in self.outputs)
        if binary > RESPONSE_BYTES:
            raise UsageError(
                f"outputs of a batch must have at most {RESPONSE_BYTES:,} bytes, got {binary:,} from {self._name}. Use "
                "a smaller batch."
            )
        as_json = min(sum(counts.values()) * _JSON_VALUE_BYTES, RESPONSE_JSON_BYTES)
        return lambda json_bytes: _JSON_LIMIT_BYTES + (as_json if json_bytes is None else binary)

    def _outputs(self, response: Response, identity: str, shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
        """Read the outputs and compare them with their description."""
        try:
            message, tensors = read_message(response.body, response.json_bytes, "outputs")
        except UsageError as error:
            reason = printable(one_line(error, _MAX_CHARACTERS))
            raise DeviceError(f"{self._name} must send outputs of the V2 protocol, got: {reason}") from error
        if message.get("id") not in (identity, "", None):  # not a set: a server may send a list
            raise DeviceError(
                f"{self._name} must respond to request {identity}, got a response to {message['id']!r:.40}. Check its "
                "proxies."
            )
        found = {}
        for one in self.outputs:
            array = tensors.get(one.name)
            if array is None:
                names = printable(", ".join(tensors)[:_MAX_CHARACTERS]) or "none"
                raise DeviceError(f"{self._name} must send output '{one.name}', got {names}. Check the served model.")
            if array.dtype.name != one.dtype or not _fits(array.shape, shapes[one.name]):
                raise DeviceError(
                    f"output '{one.name}' of {self._name} must be {one.dtype} {_shown(shapes[one.name])}, got "
                    f"{array.dtype} {array.shape}. Check the served model."
                )
            found[one.name] = np.require(array, requirements="A")
        return found


def _specs(info: ModelInfo, card: ModelCard | None, name: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Compare the server's inputs and outputs with the card's, and return those, whose open sizes have names."""
    for one in (*info.inputs, *info.outputs):
        if one.dtype == "object":
            raise ArtifactError(
                f"{name} must take and return numbers, got BYTES for '{printable(one.name)}'. Use the URL of the model "
                "itself."
            )
    if card is None:
        raise ArtifactError(
            f"{name} must have a model card in its configuration, got none. Name the file that it serves: --card FILE "
            "(in Python: card=)."
        )
    for ours, theirs in ((card.inputs, info.inputs), (card.outputs, info.outputs)):
        by_name = {one.name: one for one in theirs}  # servers list tensors in any order
        if by_name.keys() != {one.name for one in ours} or not all(agrees(one, by_name[one.name]) for one in ours):
            raise ArtifactError(
                f"{name} must have the inputs and outputs of its card, {_listed(ours)}, got {_listed(theirs)}. Serve "
                "the file of the card, or give another card."
            )
    return card.inputs, card.outputs


def _listed(specs: Sequence[TensorSpec]) -> str:
    return printable(", ".join(f"{one.name} {one.dtype} {one.shape}" for one in specs)[:_MAX_CHARACTERS])


def _output_shape(
    spec: TensorSpec, inputs: Sequence[TensorSpec], feed: Mapping[str, NDArray[np.generic]]
) -> tuple[int, ...]:
    """Return the shape of an output; a negative size is the largest of one that the inputs do not determine."""
    sizes = {
        label: size
        for one in inputs
        for label, size in zip(one.shape, feed[one.name].shape, strict=True)
        if isinstance(label, str)
    }
    most = max((size for one in inputs for size in feed[one.name].shape), default=1)
    return tuple(size if isinstance(size, int) else sizes.get(size, -max(most, 1)) for size in spec.shape)


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Compare a shape with `_output_shape`."""
    if len(shape) != len(wanted):
        return False
    return all(0 < size <= -most if most < 0 else size == most for size, most in zip(shape, wanted, strict=True))


def _shown(shape: tuple[int, ...]) -> str:
    """Describe `_output_shape`."""
    sizes = (str(size) if size >= 0 else f"up to {-size}" for size in shape)
    return f"({', '.join(sizes)})"


def _word(text: str | None) -> str:
    """Make a short text of a server printable."""
    return printable(one_line(text or "", 60))
