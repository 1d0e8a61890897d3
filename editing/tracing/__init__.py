"""Causal tracing (appendix A of the MEMIT paper)."""
