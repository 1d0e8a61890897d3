"""One step of a source becomes committed rows."""
