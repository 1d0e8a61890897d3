"""One run's life, from a plan to a checkpoint that is served."""
