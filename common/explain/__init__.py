"""Where a network looks, and whether its attention can be trusted."""
