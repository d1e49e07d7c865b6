"""The study that a consortium agrees on, and every YAML file that people write."""
