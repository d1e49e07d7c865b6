"""The command oncofed-hub."""
