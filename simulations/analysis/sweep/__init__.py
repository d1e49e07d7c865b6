"""Hyper-parameter search on public or synthetic data, and its price."""
