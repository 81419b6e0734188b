"""Classify a folder of photos into a CSV file: python photos_to_csv.py w18.onnx FOLDER photos.csv.

Each row is written when its photo is classified, so memory does not grow with the folder. An unreadable photo is
reported and skipped, and the exit code is then 2.
"""

import argparse
import csv
import sys
from pathlib import Path

from hrnet_deploy import HrnetDeployError, ImageError, Predictor, Task

COLUMNS = ("name", "label", "score", "top5")


def plain(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write_rows(predictor: Predictor, folder: Path, writer) -> tuple[int, int]:
    """Write a row for each photo; return the numbers of classified and of skipped photos."""
    skipped = []

    def skip(name: str, error: ImageError) -> None:
        skipped.append(name)
        print(f"skipped: {error}", file=sys.stderr)

    count = 0
    for result in predictor.stream(folder, on_error=skip):
        name = result.path.relative_to(folder).as_posix()
        top5 = "; ".join(f"{label} {score:.4f}" for label, score in result.topk(5))
        writer.writerow([plain(name), plain(result.label), f"{result.score:.6f}", plain(top5)])
        count += 1
    return count, len(skipped)


def main() -> int:
    """Read the command line, classify, and return the exit code."""
    parser = argparse.ArgumentParser(description="Classify a folder of photos into a CSV file.")
    parser.add_argument("model", help="a classifier that hrnet-export wrote")
    parser.add_argument("folder", type=Path, help="photos; its subfolders are included")
    parser.add_argument("csv", type=Path, help="the file to write")
    args = parser.parse_args()
    if not args.folder.is_dir():
        sys.exit(f"FOLDER must be a folder, got {args.folder}.")
    try:
        # streams=None runs several inferences side by side where the machine has the cores.
        with Predictor(args.model, streams=None) as predictor:
            if predictor.card.task is not Task.CLASSIFICATION:
                sys.exit(f"MODEL must be a classifier, got {args.model} for {predictor.card.task.value}.")
            with args.csv.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS)
                count, skipped = write_rows(predictor, args.folder, writer)
    except HrnetDeployError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        sys.exit(f"CSV must be a file that can be written, got {args.csv} ({error.strerror}).")
    print(f"{count} photos in {args.csv}, {skipped} skipped")
    return 2 if skipped else 0


if __name__ == "__main__":
    sys.exit(main())
