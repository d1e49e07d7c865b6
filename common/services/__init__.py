"""What a daemon needs on any machine: supervision, notices, a page, an environment."""
