"""Editors other than MEMIT: the baselines of its paper, and later methods, behind the same contract.

Each follows its paper on W_out, the matrix that kbsync writes.  What MEMIT has already (key groups, δs, statistics,
layers) is taken from `editing.memit`.
"""
