"""Kernel sets: what running a forward does. `ops` says what each operation means; the rest do it."""
