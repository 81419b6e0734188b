"""The models of a server, and what they share."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hrnet_deploy.errors import UsageError
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.processing.prefetch import readers
from hrnet_deploy.serving.body_budget import BodyBudget
from hrnet_deploy.serving.http_error import HttpError
from hrnet_deploy.serving.limits import Limits
from hrnet_deploy.serving.metrics import Metrics
from hrnet_deploy.serving.pixel_budget import PixelBudget
from hrnet_deploy.serving.served_model import ServedModel
from hrnet_deploy.serving.workers import Workers

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_DECODED_AT_A_TIME = 2
Given = Mapping[str, Predictor | str | os.PathLike[str]]
"""Open predictors, or files of artifacts, by name."""


class ServedModels:
    """Models by name: opened once, closed with the server.

    Attributes:
        limits: limits of requests.
        bodies: bytes of the bodies of all requests.
        metrics: counts of all models.
        is_draining: the server finishes its requests and takes no more.
    """

    def __init__(self, models: Given, limits: Limits, options: Mapping[str, Any]) -> None:
        if not models:
            raise UsageError("a server needs at least one model, got none. Give {'name': 'model.onnx'}.")
        for name in models:
            if not _NAME.fullmatch(name) or not name.strip("."):
                raise UsageError(
                    f"model name must be 1 to 100 letters, digits, '_', '-' or '.', got '{name:.120}'. Rename it."
                )
        self._given = dict(models)
        self._models: dict[str, ServedModel] = {}
        self._options = dict(options)
        self._opening = threading.Lock()
        self._workers: Workers | None = None
        self.limits = limits
        self.bodies = BodyBudget(limits.in_flight_bytes)
        self.metrics = Metrics()
        self.is_draining = False
        self.metrics.add_gauge(
            "hrnet_queue_images",
            "Images that are prepared and wait for a stream.",
            lambda: {(("model", model.name),): model.waiting for model in self._models.values()},
        )
        self.metrics.add_gauge(
            "hrnet_body_bytes", "Bytes of the bodies of requests in work.", lambda: {(): self.bodies.used}
        )
        self.metrics.add_gauge(
            "hrnet_images_in_use",
            "Images that were accepted and have no result yet.",
            lambda: {(("model", model.name),): model.in_use for model in self._models.values()},
        )

    @property
    def names(self) -> list[str]:
        """Names in the order given."""
        return list(self._given)

    @property
    def all(self) -> list[ServedModel]:
        """Open models in the order given."""
        return list(self._models.values())

    @property
    def workers(self) -> Workers:
        """Threads that all models share."""
        if self._workers is None:
            raise RuntimeError("the models are not open")
        return self._workers

    @property
    def is_ready(self) -> bool:
        """Whether requests are computed."""
        return self.is_open and not self.is_draining

    @property
    def is_open(self) -> bool:
        """Whether the models are open."""
        return self._workers is not None

    def get(self, name: str) -> ServedModel:
        """Return a model.

        Raises:
            HttpError: 404 for an unknown name.
        """
        if name not in self._models:
            raise HttpError(404, f"model must be one of {', '.join(self._models)}, got '{name:.100}'. Correct the URL.")
        return self._models[name]

    def only(self) -> ServedModel:
        """Return the one model that there is.

        Raises:
            HttpError: 400 where there are several.
        """
        if len(self._models) > 1:
            urls = ", ".join(f"/models/{name}/predict" for name in self._models)
            raise HttpError(400, f"/predict needs a server with one model, got {len(self._models)}. Use {urls}.")
        return next(iter(self._models.values()))

    def open(self) -> None:
        """Open each model and run it once; a second call does nothing.

        Raises:
            HrnetDeployError: one cannot be opened.
        """
        with self._opening:
            if self._workers is not None:
                return
            count = readers(self._options.get("threads"))
            workers = Workers(  # one thread more reads, because one may run the image that it read
                ThreadPoolExecutor(count + 1, thread_name_prefix="hrnet-read"),
                ThreadPoolExecutor(count, thread_name_prefix="hrnet-write"),
                PixelBudget(_DECODED_AT_A_TIME * self.limits.pixels),
            )
            opened: dict[str, ServedModel] = {}
            try:
                for name, given in self._given.items():
                    opened[name] = ServedModel(name, given, self._options, self.limits, workers, self.metrics)
                    opened[name].warm_up()
            except BaseException:
                _close(opened, workers)
                raise
            self._models, self._workers = opened, workers

    def close(self) -> None:
        """Finish what is waiting, and release the models that were opened here."""
        with self._opening:
            if self._workers is not None:
                models, workers = self._models, self._workers
                self._models, self._workers = {}, None
                _close(models, workers)


def _close(models: Mapping[str, ServedModel], workers: Workers) -> None:
    """End threads in the order of the work."""
    workers.reading.shutdown(wait=True, cancel_futures=True)
    for model in models.values():
        model.close()
    workers.writing.shutdown(wait=True)
