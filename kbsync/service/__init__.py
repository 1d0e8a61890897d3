"""The long-running service: the cycle, the daemon, its health and its metrics."""
