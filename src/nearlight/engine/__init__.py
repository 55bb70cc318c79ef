"""Sequences and steps: decides which rows go next, turns steps into answers, and is the Python API."""
