"""A gate command that measures candidates with EleutherAI's lm-eval on task files of the operator."""
