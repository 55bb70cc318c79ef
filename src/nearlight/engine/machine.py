"""This machine as a row of hardware: what its data sheet would say, measured."""

from __future__ import annotations

from nearlight.limits.hardware import Hardware


def this_machine(threads: int | None = None) -> Hardware:
    """Describe this machine's processor by its probed ceilings, for `threads` threads (None: as the engine chooses).

    The first call on a machine measures for about a second.
    """
    from nearlight.kernels.cpu import probe
    from nearlight.kernels.cpu.memory import total_memory
    from nearlight.kernels.cpu.threads import default_threads

    found = probe.ceilings(threads or default_threads())
    name = f"{probe.processor_name()}, {found.threads} thread" + ("s" if found.threads > 1 else "")
    return Hardware(name, "cpu", total_memory(), found.read_bytes_per_s, found.flops, "nearlight roofline", "measured")
