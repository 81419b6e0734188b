"""The PyTorch reference models: variants, network, checkpoints. `variants` alone loads without torch."""
