"""The paper's experiments on any model: what mass-editing does to it, and which editor suits it best."""
