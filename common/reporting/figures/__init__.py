"""The figures of a report, as SVG with their values."""
