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
JSON_VALUES = 2_000_000
"""Values in a JSON message of a server or client: about 200 MB in memory."""
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
"""Bytes of one checkpoint file, also of one that is downloaded."""
DOWNLOAD_BYTES_PER_S = 1024
"""Least rate of a download, measured over 30 seconds; a slower one is ended and can be resumed."""
IMAGE_URL_BYTES = 256 << 20
"""Bytes of one image from the web."""
IMAGE_URL_S = 120.0
"""Seconds for one image from the web."""
RESPONSE_BYTES = 2 << 30
"""Bytes of one response of a V2 server; the expected outputs limit it further."""
MODEL_INFO_BYTES = 16 << 20
"""Bytes of what a V2 server tells about a model; the configuration holds its card."""
ERROR_BYTES = 64 << 10
"""Bytes that are read of a server's error."""
TOKEN_BYTES = 16 << 10
"""Bytes of a file with a bearer token."""
HTTP_HEAD_BYTES = 64 << 10
"""Bytes of the head of a request to hrnet-serve."""
RESPONSE_JSON_BYTES = 64 << 20
"""Bytes of one response of a V2 server that is JSON alone."""
V2_TEXTS = 65_536
"""Elements of a BYTES tensor of the V2 protocol."""
CONFIG_BYTES = 1 << 20
"""Bytes of a configuration that is fetched beside weights."""
PICKLE_OBJECTS = 5_000_000
"""Objects in a pickle; training files hold about ten thousand."""
PICKLE_DEPTH = 256
"""Containers inside each other in a pickle."""
