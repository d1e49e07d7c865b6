"""How a simulated run is conducted, by Flower or in one process."""
