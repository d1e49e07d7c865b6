"""What is wrong with a cohort before anything is trained on it; each check finds, and nothing here changes a file."""
