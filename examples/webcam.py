"""Show a webcam with the model's prediction: python webcam.py w18.onnx [--source 0].

The key q quits. The source may also be a video file. `--headless --frames 100` shows no window and measures the speed.
Windows need `opencv-python`; `opencv-python-headless` has none.
"""

import argparse
import contextlib
import itertools
import sys
import time

import cv2

from hrnet_deploy import HrnetDeployError, Predictor

TITLE = "hrnet_deploy"
NEWEST = 0.1
"""Weight of the newest frame in the frames per second that are shown."""


def camera_or_file(text: str) -> int | str:
    """Read a number as the index of a camera."""
    return int(text) if text.isdigit() else text


def open_window() -> None:
    """Open the window, or end the program where there is none."""
    try:
        cv2.namedWindow(TITLE)
    except cv2.error:
        sys.exit("OpenCV must have windows, got a build or a screen without. pip install opencv-python, or --headless.")


def show(frame, fps: float) -> bool:
    """Show a frame with its frames per second; return whether the user wants another one."""
    cv2.putText(frame, f"{fps:.1f} frames/s", (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 255, 0), 2, cv2.LINE_AA)
    cv2.imshow(TITLE, frame)
    return cv2.waitKey(1) & 0xFF != ord("q")


def loop(predictor: Predictor, source: int | str, frames: int | None, *, headless: bool) -> int:
    """Predict frame by frame until the source, `frames` or the user ends it; return the number of frames."""
    count, seconds, last = 0, 0.0, time.perf_counter()
    with contextlib.closing(predictor.stream(source)) as results:
        for result in itertools.islice(results, frames):
            frame = result.overlay(legend=False)  # the label of a classifier, the colors of a segmentation
            now = time.perf_counter()
            seconds = now - last if not count else (1 - NEWEST) * seconds + NEWEST * (now - last)
            last, count = now, count + 1
            if not headless and not show(frame, 1 / seconds):
                break
    print(f"{count} frames, {1 / seconds if count else 0:.1f} frames/s; last: {result.summary() if count else 'none'}")
    return count


def main() -> int:
    """Read the command line, run the loop, and return the exit code."""
    parser = argparse.ArgumentParser(description="Show a webcam with the model's prediction; q quits.")
    parser.add_argument("model", help="a classifier or a segmentation model that hrnet-export wrote")
    parser.add_argument("--source", type=camera_or_file, default=0, help="index of a camera, or a video (default: 0)")
    parser.add_argument("--frames", type=int, metavar="N", help="end after N frames (default: when you press q)")
    parser.add_argument("--headless", action="store_true", help="show no window")
    args = parser.parse_args()
    try:
        if not args.headless:
            open_window()
        with Predictor(args.model) as predictor:
            loop(predictor, args.source, args.frames, headless=args.headless)
    except HrnetDeployError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
