"""From what a hospital has to a first manifest: labels, patients and masks are right beyond doubt, or not written."""
