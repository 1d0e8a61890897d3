"""The process `python -m editing.worker`: a spec in, a report out."""
