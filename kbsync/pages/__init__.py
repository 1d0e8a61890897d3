"""The review pages: what is live, what waits and what happened, in a browser; decisions as forms."""
