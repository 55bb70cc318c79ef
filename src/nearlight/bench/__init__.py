"""Measures how fast a model runs, and holds every figure against what was predicted and what is possible.

model, synthetic            what is measured: a package, or any shape with random weights
runner, steady              the work (pp512, tg64) and who does it; repeated until the machine held still
calibration, prediction     what to expect of it, told before the model is loaded; `memory` likewise
measure                     all of that in order, from a model to rows
profile                     where the time of a step goes, op by op
results, ledger             rows; the file that they are kept in, and how good its predictions were
peers                       other engines on the same work, each in a process of its own
"""
