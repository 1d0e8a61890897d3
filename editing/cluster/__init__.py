"""Builds on a Ray cluster: residuals are divided among actors that each hold the base."""
