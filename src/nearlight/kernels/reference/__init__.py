"""The kernel set that defines the result: every op in plain PyTorch, in float32, on any device, differentiable.

Nothing here is fast on purpose. The other kernel sets are tested against it, and pico is trained through it.
"""

from nearlight.kernels.reference.ops import ReferenceOps, TorchWeight

__all__ = ["ReferenceOps", "TorchWeight"]
