"""Finding an edit's settings for one model, and proving them on facts that the search never saw."""
