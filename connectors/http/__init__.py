"""HTTP for connectors: bounded requests, retries, paging and event streams."""
