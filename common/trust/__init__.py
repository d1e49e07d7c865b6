"""Keys, signatures and chains: why a file can be believed."""
