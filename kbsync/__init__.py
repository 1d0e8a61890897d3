"""kbsync keeps a language model's weights in step with a knowledge base."""

__version__ = "0.1.0"
