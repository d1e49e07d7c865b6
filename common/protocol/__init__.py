"""What travels between hub and sites: requests, answers, their bounds, and updates that add."""
