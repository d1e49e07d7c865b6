"""The command oncofed-sim."""
