"""Attacks on our own privacy promises."""
