"""From a name to a model with bound weights: where it is, on which kernels it runs, and in which bits."""
