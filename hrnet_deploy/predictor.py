"""Predictor: one object from image to result, for every artifact."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.card import card_from_metadata
from hrnet_deploy.artifact.card_check import check_tensors
from hrnet_deploy.engines.feed import agrees
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.engines.locate import locate_model
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.engines.streams import check_threads
from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.feature_result import FeatureResult
from hrnet_deploy.imaging.sources import BinaryFile, OnError, PilImage, is_single
from hrnet_deploy.processing.image_pipeline import ImagePipeline
from hrnet_deploy.processing.prediction_loop import PredictionLoop
from hrnet_deploy.protocols import Tensors
from hrnet_deploy.result_list import OneOrMany, Results
from hrnet_deploy.results import Result
from hrnet_deploy.spec import ModelCard

if TYPE_CHECKING:
    from typing_extensions import Unpack


class _Options(TypedDict, total=False):
    """Options of `predict` that do not change the type of what it returns."""

    batch: int
    draft: bool
    allow_url: bool


class _All(_Options, total=False):
    """The same with the one that makes a list of every result."""

    on_error: OnError | None


class Predictor:
    """Runs an exported model on images; safe to call from several threads, and picklable: a copy opens the file again.

    The model may be on a V2 server, such as Triton or hrnet-serve. A pickle then holds the URL and the token.

    Examples:
        >>> predictor = Predictor("w18.onnx")  # or Predictor("http://localhost:8000/v2/models/w18")
        >>> result = predictor.predict("cat.jpg")
        >>> result.label, result.score

    Attributes:
        card: model card of the artifact.
        device: device that computes, such as "cpu", "cuda:0" or "http://localhost:8000".
        backend: runtime that computes, such as "onnxruntime"; "v2" where a server does not name it.
        arithmetic: number types of the computation, such as "float32", "bfloat16" or "int8 and float32".
        streams: inferences side by side when there is more than one image.
        metadata: string metadata of the artifact.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | RemoteModel,
        *,
        device: str = "auto",
        backend: str = "auto",
        threads: int | None = None,
        streams: int | EllipsisType | None = ...,
        card: ModelCard | None = None,
        token: str | None = None,
        timeout: float | None = None,
        lanes: int | EllipsisType | None = ...,
    ) -> None:
        """Open an artifact.

        Args:
            path: an .onnx or .engine file written by hrnet-export, or the URL of a model on a V2 server:
                http(s)://HOST:PORT/v2/models/NAME[/versions/N]. Engines are code: load only those you trust.
            device: "cpu", "cuda", "cuda:N", or "auto"; a device named here is used or refused, never replaced.
            backend: "onnxruntime", "onnxruntime-trt", "onnxruntime-rtx" or "openvino" for .onnx, "tensorrt" or
                "tensorrt-rtx" for engines; "auto" for the best of those installed. A server has its own.
            threads: CPU threads for inference, and at most half as many (1 to 8) for reading ahead; None for all
                cores. With several predictors or processes on one machine, let their threads add up to its cores.
                OpenCV's own threads are the application's. For a server, threads are for reading ahead only.
            streams: inferences side by side on the CPU, which share the threads. 1, a file's default, gives the lowest
                latency of a single image. More give more images a second from folders, iterators and several caller
                threads, and each needs memory. None chooses. For a server, the requests in flight: 4 by default.
            card: card for a file or server without one, or in place of its own.
            token: bearer token for a server; it is sent over https, or to this machine.
            timeout: seconds for one request to a server; None for 120.
            lanes: former name of `streams`.

        Raises:
            MissingFileError: the file does not exist.
            ArtifactError: the file is damaged, has no card and none is given, or contradicts its card.
            DeviceError: the device does not exist, or the server is unreachable, slow or not ready.
            MissingDependencyError: the runtime is not installed.
            UsageError: an unknown device or backend, streams below 1, a zoo name, or a token for a file.
        """
        streams = streams if isinstance(lanes, EllipsisType) else lanes
        check_threads(threads)
        artifact = locate_model(path, card, token, timeout)
        options: dict[str, Any] = {"device": device, "backend": backend, "streams": streams}
        if isinstance(streams, EllipsisType):
            options["streams"] = 1 if isinstance(artifact, Path) else None
        card, engine_threads = (artifact.card, None) if isinstance(artifact, RemoteModel) else (card, threads)
        # A pickled copy may be opened in another folder.
        place = artifact.absolute() if isinstance(artifact, Path) else artifact
        self._reopen = functools.partial(type(self), place, threads=threads, card=card, **options)
        self._engine = open_engine(artifact, threads=engine_threads, **options)
        try:
            self.metadata = self._engine.metadata
            self.card = card or card_from_metadata(self.metadata, str(artifact))
            self._check_card(artifact)
            self.device, self.backend, self.streams = self._engine.device, self._engine.backend, self._engine.streams
            self.arithmetic = self._engine.arithmetic
            self._loop = PredictionLoop(self._engine, self.card, self.streams, threads)
        except BaseException:
            self._engine.close()
            raise

    @property
    def lanes(self) -> int:
        """Former name of `streams`."""
        return self.streams

    @property
    def pipeline(self) -> ImagePipeline:
        """Preprocessing and postprocessing of single images, for programs that batch by themselves and call `infer`."""
        return self._loop.pipeline

    def _check_card(self, path: Path | RemoteModel) -> None:
        """Refuse a card that names other inputs and outputs than the engine."""
        engine = (*self._engine.inputs, *self._engine.outputs)
        card = (*self.card.inputs, *self.card.outputs)
        if len(engine) != len(card) or not all(map(agrees, engine, card)):
            raise ArtifactError(
                f"{path} must have the inputs and outputs its card names, got {self._engine.inputs} and "
                f"{self._engine.outputs}. Export it again."
            )
        check_tensors(self.card, str(path))

    @overload
    def predict(
        self, source: Any, *, stream: Literal[True], on_error: OnError | None = None, **options: Unpack[_Options]
    ) -> Iterator[Result]: ...
    @overload
    def predict(
        self, source: Any, *, stream: Literal[False] = False, on_error: OnError, **options: Unpack[_Options]
    ) -> Results: ...
    @overload
    def predict(
        self, source: str | os.PathLike[str], *, stream: Literal[False] = False, **options: Unpack[_Options]
    ) -> OneOrMany: ...
    @overload
    def predict(
        self,
        source: bytes | bytearray | memoryview | NDArray[Any] | PilImage | BinaryFile,
        *,
        stream: Literal[False] = False,
        **options: Unpack[_Options],
    ) -> Result: ...
    @overload
    def predict(
        self,
        source: list[Any] | tuple[Any, ...] | Iterator[Any] | int,
        *,
        stream: Literal[False] = False,
        **options: Unpack[_Options],
    ) -> Results: ...
    @overload
    def predict(
        self, source: Any, *, stream: bool = False, on_error: OnError | None = None, **options: Unpack[_Options]
    ) -> Any: ...

    def predict(
        self,
        source: Any,
        *,
        stream: bool = False,
        batch: int = 1,
        on_error: OnError | None = None,
        draft: bool = False,
        allow_url: bool = False,
    ) -> Any:
        """Classify or segment.

        Args:
            source: path, bytes, open binary file, BGR uint8 (H, W, 3) array or PIL image: one result; a list of those,
                a folder, a glob pattern, a video file or a camera index: a list of results.
            stream: as the method `stream`, whose former spelling it is.
            batch: images per inference, at least 1; filled up to the smallest batch of the artifact.
            on_error: called with (name, error) for an item that cannot be read, which is then skipped; the result is a
                list for a single image too. None raises, after the results of the items before it. It runs in the
                caller's thread, in order.
            draft: decode large JPEGs at a half, a quarter or an eighth of their size where the model needs no more;
                faster, but not exact: `result.image` is smaller, and scores may differ. Only for classifiers.
            allow_url: fetch sources that are http(s) URLs, of at most 256 MiB; they are refused otherwise.

        Returns:
            `ClassificationResult` or `SegmentationResult`, or a list of them: `Results`, which has `to_df`.

        Raises:
            ImageError: an image cannot be read or used.
            MissingFileError: the file does not exist.
            UsageError: batch below 1, or a draft for a model that segments.
            DeviceError: the runtime failed.
        """
        results = self.stream(source, batch=batch, on_error=on_error, draft=draft, allow_url=allow_url)
        if stream:
            return results
        return next(results) if on_error is None and is_single(source) else Results(results)

    def stream(
        self,
        source: Any,
        *,
        batch: int = 1,
        on_error: OnError | None = None,
        draft: bool = False,
        allow_url: bool = False,
    ) -> Iterator[Result]:
        """Classify or segment image by image, in constant memory.

        Images ahead are read and prepared on other threads while the model runs on one thread for each stream. At most
        two batches a stream, two more and a few images are held at a time; cameras are not read ahead. Where a model
        takes images of several sizes, images of one size run together: up to one more batch a stream and a few images
        are held. Results keep the order of the images.

        The arguments are those of `predict`.

        Returns:
            Iterator of results, one for each image. Closing it, or leaving it to be collected, ends its threads.

        Raises:
            UsageError: batch below 1, or a draft for a model that segments; the iterator raises the other errors of
                `predict`.
        """
        if self.card.headless:
            raise UsageError("predict needs a model with a head, got one with features only. Use features().")
        options: _All = {"on_error": on_error, "batch": batch, "draft": draft, "allow_url": allow_url}
        return self._loop.run(source, self.pipeline.result, **options)

    @overload
    def features(self, source: Any, *, stream: Literal[True], **options: Unpack[_All]) -> Iterator[FeatureResult]: ...
    @overload
    def features(self, source: Any, *, stream: bool = False, **options: Unpack[_All]) -> Any: ...

    def features(self, source: Any, *, stream: bool = False, **options: Unpack[_All]) -> Any:
        """Compute the features of images; arguments and further errors are those of `predict`.

        Returns:
            `FeatureResult`, a list of them, or with `stream` an iterator in constant memory.

        Raises:
            UsageError: the artifact was exported without features.
        """
        if not self.card.features:
            raise UsageError("features need an artifact with feature outputs, got none. Export it with --features.")
        found = self._loop.run(source, self.pipeline.features, **options)
        single = options.get("on_error") is None and is_single(source)
        return found if stream else next(found) if single else list(found)

    def infer(self, batch: Mapping[str, NDArray[np.generic]] | NDArray[np.generic]) -> Tensors:
        """Run the graph itself, without preprocessing and postprocessing.

        Args:
            batch: {input name: array}, or the only array.

        Returns:
            {output name: array}.

        Raises:
            UsageError: a missing, unknown or ill-shaped input.
            DeviceError: the runtime failed.
        """
        return self._engine.run(batch if isinstance(batch, Mapping) else {self.card.inputs[0].name: batch})

    def close(self) -> None:
        """Release the runtime; the predictor cannot run afterwards."""
        self._engine.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reopen, ()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
