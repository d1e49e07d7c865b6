"""What a hospital checks before it takes part."""
