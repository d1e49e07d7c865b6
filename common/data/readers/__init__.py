"""One reader a published layout."""
