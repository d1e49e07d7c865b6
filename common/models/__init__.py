"""The network zoo: DP-safe classifiers, which part of them is trained, and their weights."""
