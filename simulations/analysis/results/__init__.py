"""The table of docs/results.md, made by one command."""
