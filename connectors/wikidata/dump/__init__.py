"""Wikibase's published JSON dumps: one entity per line, gzip, bzip2 or plain, read in two streamed passes."""
