"""Measures how fast a model runs, and holds every figure against what was predicted and what is possible."""
