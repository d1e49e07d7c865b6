"""What is changed inside Flower."""
