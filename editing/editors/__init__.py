"""What turns a view into changed weights: the contract all editors keep, and the editors by name."""
