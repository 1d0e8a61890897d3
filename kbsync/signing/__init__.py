"""Signed versions: the keys that sign checkpoints and their forms, signatures, bills of materials, verification."""
