"""Public data and phantoms, dealt to emulated hospitals."""
