"""Evaluation: questions to a model, its answers, and the measures computed from them."""
