"""TensorRT's builder, faked from its type stubs."""

from helpers.fake_builder import fake, stub_source, stub_tree

__all__ = ["fake", "stub_source", "stub_tree"]
