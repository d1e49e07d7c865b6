"""Page templates as strings."""
