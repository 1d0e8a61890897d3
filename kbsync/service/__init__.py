"""What keeps kbsync going: the cycle, the daemon, its health and its metrics."""
