"""Model repositories of the Triton Inference Server, written from artifacts without Triton, a GPU or protobuf."""

from hrnet_deploy.triton.repository import TritonModel, write_triton_repository

__all__ = ["TritonModel", "write_triton_repository"]
