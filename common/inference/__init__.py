"""A released model at work in a department: its package, its results on exams, and when it says nothing."""
