"""The demo: a small model that really knows facts, a real SPARQL server, and a world that moves on."""
