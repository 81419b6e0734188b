"""Segment a street video into an overlay video: python video_overlay.py street.onnx drive.mp4 overlay.mp4.

Frames are read, segmented and written one after the other, so memory does not grow with the length of the video.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from hrnet_deploy import HrnetDeployError, Predictor, SegmentationResult, Task

FALLBACK_FPS = 25.0
MIN_SHARE = 0.005
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def draw(result: SegmentationResult) -> np.ndarray:
    """Tint a frame by class and write the classes that it shows into its upper left corner."""
    frame = result.overlay(legend=False)  # a legend below the frame would change its height from frame to frame
    step = max(12, frame.shape[0] // 24)
    for row, (name, share) in enumerate(result.shares.items()):
        top = step // 2 + row * step
        if share < MIN_SHARE or top + step > frame.shape[0]:
            break
        color = result.palette[result.classes.index(name), ::-1].tolist()  # RGB to BGR
        cv2.rectangle(frame, (step // 2, top), (step, top + step // 2), color, cv2.FILLED)
        place = (step + step // 2, top + step // 2)
        for ink, thickness in ((BLACK, 3), (WHITE, 1)):
            cv2.putText(frame, f"{name} {share:.0%}", place, cv2.FONT_HERSHEY_SIMPLEX, step / 36, ink, thickness)
    height, width = frame.shape[:2]
    return frame[: height // 2 * 2, : width // 2 * 2]  # codecs require even sides


def overlay(predictor: Predictor, source: Path, target: Path) -> int:
    """Write the overlay video, which gets its name when it is complete; return the number of frames."""
    partial = target.with_name(f"{target.stem}.partial.mp4")
    writer = cv2.VideoWriter()
    count = 0
    try:
        for result in predictor.stream(source):
            frame = draw(result)
            if not count:
                fps = result.video.fps if 0 < result.video.fps <= 1000 else FALLBACK_FPS
                size = (frame.shape[1], frame.shape[0])
                if not writer.open(str(partial), cv2.VideoWriter.fourcc(*"mp4v"), fps, size):
                    sys.exit(f"OUTPUT must be a file that OpenCV can write, got {target}. Check its folder.")
            writer.write(frame)
            count += 1
        writer.release()
        partial.replace(target)
    finally:
        writer.release()
        partial.unlink(missing_ok=True)
    return count


def main() -> int:
    """Read the command line, write the video, and return the exit code."""
    parser = argparse.ArgumentParser(description="Segment a street video into an overlay video with a legend.")
    parser.add_argument("model", help="a segmentation model that hrnet-export wrote")
    parser.add_argument("video", type=Path)
    parser.add_argument("output", type=Path, help="an .mp4 file")
    args = parser.parse_args()
    try:
        with Predictor(args.model) as predictor:
            if predictor.card.task is not Task.SEGMENTATION:
                sys.exit(f"MODEL must segment, got {args.model} for {predictor.card.task.value}.")
            count = overlay(predictor, args.video, args.output)
    except HrnetDeployError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{count} frames in {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
