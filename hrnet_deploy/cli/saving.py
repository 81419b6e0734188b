"""Pictures and videos of results, drawn beside the net and written in order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor
from pathlib import Path

from hrnet_deploy.imaging.drawing import Image
from hrnet_deploy.imaging.frame import VideoFrame
from hrnet_deploy.imaging.video_file import FALLBACK_FPS, VideoFile, usable_fps
from hrnet_deploy.processing.prefetch import ordered
from hrnet_deploy.results import Result

_PICTURES_AHEAD = 8
"""Pictures being drawn and written at a time."""
Drawn = tuple[Result, Path, "Image | None"]
"""A result, where it goes, and its picture where that is a frame of a video."""


class Saver:
    """Writes the overlay of each result: a picture each, or one video for the frames of a video."""

    def __init__(self, folder: Path, pool: Executor, tell: Callable[[str], None]) -> None:
        """Nothing is written yet.

        Args:
            folder: where to write.
            pool: threads that draw and encode pictures.
            tell: takes a line for the user.
        """
        self._folder = folder
        self._pool = pool
        self._tell = tell
        self._taken: set[Path] = set()

    def saved(self, results: Iterable[Result]) -> Generator[tuple[Result, Path | None], None, None]:
        """Save results.

        Args:
            results: in order; the frames of a video are neighbours.

        Yields:
            Each result and the file it is in. Closing the iterator drops a video that is not at its end.

        Raises:
            UsageError: the folder cannot be written to.
        """
        drawn = ordered(self._pool, _drawn, self._named(results), most=_PICTURES_AHEAD)
        with contextlib.ExitStack() as stack, contextlib.closing(drawn):
            written: tuple[Path, VideoFile] | None = None
            for result, path, image in drawn:
                if written is not None and written[0] != path:
                    stack.pop_all().close()
                    written = None
                if image is None or result.video is None:
                    yield result, path
                    continue
                if written is None:
                    written = path, stack.enter_context(self._begun(path, result.video, image))
                written[1].write(image)
                yield result, written[1].path

    def _begun(self, path: Path, frame: VideoFrame, image: Image) -> VideoFile:
        fps = usable_fps(frame.fps)
        if fps != frame.fps:
            self._tell(f"{frame.path.name} does not say its frames per second; its copy has {FALLBACK_FPS:g}")
        return VideoFile(path, fps, (image.shape[0], image.shape[1]))

    def _named(self, results: Iterable[Result]) -> Iterator[tuple[Result, Path]]:
        """Results and a file name of its own for each picture and each video."""
        last: tuple[VideoFrame, Path] | None = None
        for result in results:
            frame = result.video
            if frame is None:
                last = None
                yield result, self._free(Path(result.name).stem.replace("#", "_"), ".png")
                continue
            if last is None or last[0].path != frame.path or last[0].index >= frame.index:
                path = self._free(frame.path.stem, ".mp4")
            else:
                path = last[1]
            last = frame, path
            yield result, path

    def _free(self, stem: str, suffix: str) -> Path:
        """A name that nothing else of this run has, also where two folders hold the same file names."""
        path, number = self._folder / f"{stem}{suffix}", 1
        while path in self._taken:
            number += 1
            path = self._folder / f"{stem}_{number}{suffix}"
        self._taken.add(path)
        return path


def _drawn(named: tuple[Result, Path]) -> Drawn:
    result, path = named
    if result.video is not None:
        return result, path, result.overlay()
    return result, result.save(path), None
