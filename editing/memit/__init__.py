"""MEMIT (Meng et al., arXiv 2210.07229), one file for each idea of the paper."""
