"""The limits of what is read from files, flags and servers: one value a kind, and all of them in SECURITY.md.

A size is known and compared before memory is taken for it. A test compares the table of SECURITY.md with this module.
"""

from __future__ import annotations

IMAGE_PIXELS = 178_956_970
"""Pixels of one image. Source: Pillow, twice Image.MAX_IMAGE_PIXELS, where it raises as well."""
IMAGE_FILE_BYTES = 1 << 30
"""Bytes of one image file; the largest image without compression has half of them."""
IMAGE_DECODE_BYTES = 3 << 29
"""Bytes of memory to decode one image: its file, the decoder's own and the pixels; 1.5 GiB."""
IMAGE_DECODE_SECONDS = 8
"""Seconds to decode one image in a process of its own, and to open a video or to decode its next frame."""
IMAGE_PARTS = 1 << 18
"""Segments, chunks or boxes of one image file."""
JPEG_SCANS = 100
"""Scans of a JPEG; progressive ones have about 10. Source: libtiff, tif_jpeg.c, max_allowed_scan_number."""
JPEG_SCAN_PIXELS = 2_000_000_000
"""Pixels of all scans of a JPEG together: 11 scans of the largest image, or 100 of 20 megapixels."""
PNG_COMPRESSED_TEXTS = 32
"""Compressed texts and color profiles of a PNG, of which libpng keeps up to 8 MB each."""
CAMERAS = 10_000
"""Number of the last camera, plus one; OpenCV adds hundreds to choose a backend."""
VIDEO_DECODE_BYTES = 7 << 28
"""Bytes of memory to decode one video, 1.75 GiB."""
TABLE_DECODE_BYTES = 7 << 28
"""Bytes of memory to read the rows of a Parquet table, 1.75 GiB; its pages are compressed."""
TABLE_DECODE_SECONDS = 60
"""Seconds to read the next row of a Parquet table; the first one comes after all rows before it in its row group."""
TABLE_ROWS = 1 << 26
"""Rows of a Parquet table."""
LIST_FILE_BYTES = 1 << 28
"""Bytes of a list of images, or of images and labels; ImageNet's 1.3 million lines have 50 MB."""
LIST_LINES = 3_000_000
"""Lines of such a list."""
LINE_CHARACTERS = 4096
"""Characters of one line of such a list or of a class file; Linux has no longer paths."""
TEXT_FILE_BYTES = 1 << 22
"""Bytes of a class file, a configuration beside weights, and other short texts."""
JSON_FILE_BYTES = 1 << 26
"""Bytes of a calibration table, a sidecar and other JSON that this package writes."""
CALIBRATION_STATE_BYTES = 1 << 28
"""Bytes of the file from which a calibration resumes."""
JOURNAL_LINE_BYTES = 1 << 24
"""Bytes of one line of an evaluation's journal."""
JSON_DEPTH = 100
"""Containers inside each other in JSON."""
JSON_VALUES = 2_000_000
"""Values in a JSON message of a server or client: about 200 MB in memory."""
JSON_INTEGER_BITS = 64
"""Bits of an integer in JSON, with its sign; NumPy and the runtimes have no larger ones."""
CLASSES = 100_000
"""Classes of a model; ImageNet-21k has 21,841."""
CLASS_NAME_CHARACTERS = 1000
"""Characters of one class name in a card."""
CARD_CHARACTERS = 1 << 23
"""Characters of one model card."""
BATCH = 4096
"""Images of one inference."""
IMAGE_SIDE = 32_768
"""Height or width of a model's input in pixels."""
THREADS = 1024
"""Threads of one inference, and workers of one pool."""
CHECKPOINT_BYTES = 16 << 30
"""Bytes of one checkpoint file, also of one that is downloaded."""
CHECKPOINT_MODELS = 8
"""HRNets in one checkpoint file."""
PICKLE_BYTES = 1 << 28
"""Bytes of the pickle in a PyTorch file, beside its tensors."""
PICKLE_DEPTH = 256
"""Containers that are begun and not finished at one point of a pickle."""
PICKLE_INTEGER_BYTES = 255
"""Bytes of an integer in a pickle; its decimal digits are at most twice as many."""
PICKLE_LINE_BYTES = 1 << 20
"""Bytes of one line in a pickle of protocol 0."""
PICKLE_NAME = 1000
"""Characters of the name of a class or function in a pickle."""
PICKLE_STEPS = 1_000_000
"""Opcodes of a pickle, and copied items of dicts; each takes about 100 bytes of memory. hrnet_w18 with its
optimizer and averaged weights has 230,000."""
TENSOR_DIMENSIONS = 8
"""Dimensions of a stored tensor."""
TENSOR_NAME = 500
"""Characters of the full name of a tensor, with those of the containers around it; longer ones are no weights."""
TENSOR_SHARING = 8
"""Bytes of all tensors of a checkpoint per byte of its file; tied weights and copies share storages."""
TENSORS = 100_000
"""Tensors of a checkpoint, and members of its zip."""
ZIP_DIRECTORY_BYTES = 1 << 24
"""Bytes of the directory of a zip."""
PLAN_BYTES = 16 << 30
"""Bytes of one TensorRT engine."""
TIMING_CACHE_BYTES = 1 << 30
"""Bytes of a cache of TensorRT's timings or kernels."""
GRAPH_NODES = 100_000
"""Nodes of an ONNX graph."""
GRAPH_OPSET = 1000
"""Version of the operators of an ONNX graph."""
GRAPH_TEXT_BYTES = 1 << 26
"""Bytes of one name or metadata text in an ONNX file."""
GRAPH_TENSOR_BYTES = 1 << 31
"""Bytes of one tensor of an ONNX graph; logits of 19 classes at 1024x2048 have 160 MB."""
GRAPH_LIVE_BYTES = 1 << 33
"""Bytes of the tensors that an ONNX graph needs at a time, without its weights."""
GRAPH_FOLDED_BYTES = 1 << 29
"""Bytes of all tensors of an ONNX graph that depend on no input; a runtime computes them when it opens the graph."""
GRAPH_FOLDED_MACS = 1 << 32
"""Multiplications of the nodes of an ONNX graph that depend on no input."""
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
