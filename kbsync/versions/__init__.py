"""Views apart from runs: what was true at a date, what differs between two versions, and which fact broke an answer."""
