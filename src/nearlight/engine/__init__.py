"""Sequences and steps: loads a model, decides which rows go next, and turns steps into answers."""
