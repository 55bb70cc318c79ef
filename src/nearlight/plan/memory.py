"""What a run needs besides weights and cache.

    this engine on a CPU   interpreter and libraries  +  tokenizer (by the vocabulary)  +  activations of a full step
    an accelerator         the vendor's runtime       +  activations of a full step

The first two figures of a CPU were measured on this engine (docs/limits.md); activations are counted exactly, from the
forward itself. Pages of a mapped model file are not counted: the system takes them back when it needs them.
"""

from __future__ import annotations

from nearlight.counting.counted_model import CountedModel
from nearlight.limits.hardware import Hardware

INTERPRETER_BYTES = 40_000_000
TOKENIZER_BYTES_PER_TOKEN = 800
ACCELERATOR_RUNTIME_BYTES = 500_000_000


def overhead_bytes(model: CountedModel, hardware: Hardware, n_rows: int) -> int:
    """Return the bytes besides weights and cache, when steps have up to n_rows rows."""
    activations = model.activation_bytes(n_rows)
    if hardware.kind == "gpu":
        return ACCELERATOR_RUNTIME_BYTES + activations
    return INTERPRETER_BYTES + TOKENIZER_BYTES_PER_TOKEN * model.model.vocab_size + activations
