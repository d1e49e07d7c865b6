"""How large an image file may claim to be."""

MAX_PIXELS = 100_000_000
"""Larger than any whole mammogram; a file that claims more is damaged or hostile."""
