"""The limits of what is read from files, flags and servers: one value a kind, and all of them in SECURITY.md.

A size is known and compared before memory is taken for it. A test compares the table of SECURITY.md with this module.
"""

from __future__ import annotations

IMAGE_PIXELS = 178_956_970
"""Pixels of one image. Source: Pillow, twice Image.MAX_IMAGE_PIXELS, where it raises as well."""
IMAGE_FILE_BYTES = 8 * IMAGE_PIXELS
"""Bytes of one image file: four channels of 16 bits for each pixel."""
TEXT_FILE_BYTES = 1 << 22
"""Bytes of a class file, a token file, a configuration beside weights, and other short texts."""
JSON_FILE_BYTES = 1 << 26
"""Bytes of a calibration table, a sidecar and other JSON that this package writes."""
JSON_DEPTH = 100
"""Containers inside each other in JSON."""
JSON_INTEGER_BITS = 64
"""Bits of an integer in JSON, with its sign; NumPy and the runtimes have no larger ones."""
CLASSES = 100_000
"""Classes of a model; ImageNet-21k has 21,841."""
BATCH = 4096
"""Images of one inference."""
IMAGE_SIDE = 32_768
"""Height or width of a model's input in pixels."""
THREADS = 1024
"""Threads of one inference, and workers of one pool."""
CHECKPOINT_BYTES = 16 << 30
"""Bytes of one checkpoint file."""
PICKLE_OBJECTS = 5_000_000
"""Objects in a pickle; training files hold about ten thousand."""
PICKLE_DEPTH = 256
"""Containers inside each other in a pickle."""
NATIVE_LINES_BYTES = 1 << 16
"""Bytes of native libraries' lines on standard error that are read at a time."""
STREAMS = 256
"""Inferences side by side."""
DATASET_IMAGES = 1_000_000_000
"""Images that a flag may request of a data set, or in a part of its results."""
SECONDS = 86_400
"""Duration that a flag may request."""
SERVER_QUEUE = 1 << 16
"""Images that a server accepts at a time."""
SERVER_BODY_BYTES = 1 << 32
"""Bytes of a request's body."""
SERVER_CONNECTIONS = 1 << 16
"""Connections of a server at a time."""
