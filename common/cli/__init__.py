"""What the three command lines share."""
