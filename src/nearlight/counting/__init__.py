"""Models on the counting kernels: what they keep and what their steps cost, without a byte of a weight read."""
