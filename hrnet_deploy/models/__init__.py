"""The PyTorch reference models: variants, network, checkpoint dialects. Only submodules other than `variants` load torch."""
