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
CALIBRATION_STATE_BYTES = 1 << 28
"""Bytes of the file from which a calibration resumes; hrnet_w48 needs about 50 MB."""
JOURNAL_LINE_BYTES = 1 << 24
"""Bytes of one line of an evaluation's journal."""
JSON_DEPTH = 100
"""Containers inside each other in JSON."""
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
"""Bytes of one checkpoint file."""
PICKLE_OBJECTS = 5_000_000
"""Objects in a pickle; training files hold about ten thousand."""
PICKLE_DEPTH = 256
"""Containers inside each other in a pickle."""
PLAN_BYTES = 16 << 30
"""Bytes of one TensorRT engine."""
TIMING_CACHE_BYTES = 1 << 30
"""Bytes of a cache of TensorRT's timings or kernels."""
GRAPH_NODES = 100_000
"""Nodes of an ONNX graph; hrnet_w48 for INT8 has about 4,000."""
GRAPH_TEXT_BYTES = 1 << 26
"""Bytes of one name or metadata text in an ONNX file."""
GRAPH_TENSOR_BYTES = 1 << 31
"""Bytes of one tensor of an ONNX graph; hrnet_w48 needs 160 MB for the logits of 1024x2048."""
GRAPH_LIVE_BYTES = 1 << 33
"""Bytes of the tensors that an ONNX graph needs at a time, without its weights."""
GRAPH_FOLDED_BYTES = 1 << 29
"""Bytes of all tensors of an ONNX graph that depend on no input; a runtime computes them when it opens the graph."""
GRAPH_FOLDED_MACS = 1 << 32
"""Multiplications of the nodes of an ONNX graph that depend on no input."""
