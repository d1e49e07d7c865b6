"""The monitor at a site: labels, frozen references, and the look that may lower a model."""
