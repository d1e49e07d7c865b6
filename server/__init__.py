"""The hub's side: it asks sites, checks their answers, combines them and tells the truth about the run."""
