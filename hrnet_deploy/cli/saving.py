"""Overlay images and videos of results, drawn by worker threads and written in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path

from hrnet_deploy.artifact.files import check_output
from hrnet_deploy.imaging.drawing import Image
from hrnet_deploy.imaging.frame import VideoFrame
from hrnet_deploy.imaging.video_file import VideoFile, usable_fps
from hrnet_deploy.processing.prefetch import ordered
from hrnet_deploy.results import Result

_IMAGES_AHEAD = 8
"""Overlays that are drawn and written at a time."""
_Drawn = tuple[Result, Path, "Image | None"]
"""A result, its file, and the overlay of a video frame."""


class Saver:
    """A writer of overlays: one image per result, or one video for the frames of a video."""

    def __init__(self, folder: Path, pool: Executor, notify: Callable[[str], None]) -> None:
        self._folder, self._pool, self._notify = folder, pool, notify
        self._taken: set[Path] = set()

    def saved(self, results: Iterable[Result]) -> Generator[tuple[Result, Path | None], None, None]:
        """Save results and yield each with its file; closing the iterator discards an unfinished video."""
        drawn = ordered(self._pool, _draw, self._named(results), most=_IMAGES_AHEAD)
        with contextlib.ExitStack() as stack, contextlib.closing(drawn):
            written: tuple[Path, VideoFile] | None = None
            for result, path, image in drawn:
                if written is not None and written[0] != path:
                    stack.pop_all().close()
                    written = None
                frame = result.video
                if image is None or frame is None:
                    yield result, path
                    continue
                if written is None:
                    fps, name = usable_fps(frame.fps), frame.path.name
                    if fps != frame.fps:
                        self._notify(f"{name} has no usable frame rate; its copy has {fps:g} frames per second")
                    written = path, stack.enter_context(VideoFile(path, fps, (image.shape[0], image.shape[1])))
                written[1].write(image)
                yield result, written[1].path

    def _named(self, results: Iterable[Result]) -> Iterator[tuple[Result, Path]]:
        """Yield each result with a file name that is unique per image and per video."""
        last: tuple[VideoFrame, Path] | None = None
        for result in results:
            frame = result.video
            if frame is None:
                last = None
                yield result, self._unique_path(Path(result.name).stem.replace("#", "_"), ".png")
                continue
            if last is None or last[0].path != frame.path or last[0].index >= frame.index:
                path = self._unique_path(frame.path.stem, ".mp4")
            else:
                path = last[1]
            last = frame, path
            yield result, path

    def _unique_path(self, stem: str, suffix: str) -> Path:
        """Return a name that is unique in this run, even if two folders hold the same file names."""
        path, number = self._folder / f"{stem}{suffix}", 1
        while path in self._taken:
            number += 1
            path = self._folder / f"{stem}_{number}{suffix}"
        self._taken.add(path)
        return path


def _draw(named: tuple[Result, Path]) -> _Drawn:
    result, path = named
    source = result.path if result.video is None else result.video.path
    check_output(path, [] if source is None else [source])
    if result.video is not None:
        return result, path, result.overlay()
    return result, result.save(path), None
