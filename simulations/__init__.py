"""Emulated hospitals on one machine: synthetic data, partitions, engines, baselines and benchmarks."""
