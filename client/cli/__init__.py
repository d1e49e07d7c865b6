"""The command oncofed-site."""
