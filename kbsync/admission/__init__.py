"""Pure: what sources state becomes a verdict, and a verdict becomes changes of rows."""
