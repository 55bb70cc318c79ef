"""The kernel set that runs models on the CPU: native code on the weights' own bits.

See `ops` for how a step is recorded and replayed, and native/ for what a command computes.
"""

from nearlight.kernels.cpu.ops import CpuOps
from nearlight.kernels.cpu.program import CpuProgram
from nearlight.kernels.cpu.stores import CpuKVStore

__all__ = ["CpuKVStore", "CpuOps", "CpuProgram"]
