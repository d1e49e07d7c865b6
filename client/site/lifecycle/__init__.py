"""The states of a site's models: their journal, their gate, and what two people agree to."""
