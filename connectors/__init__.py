"""Where facts come from: one module per kind of source, all speaking the types of `observations`."""
