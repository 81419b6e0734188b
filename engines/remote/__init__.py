"""Models on servers of the Open Inference Protocol (V2): Triton, hrnet-serve, KServe, MLServer and others."""
