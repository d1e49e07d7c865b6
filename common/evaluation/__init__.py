"""How a model is judged: mergeable score counts, metrics with intervals, figures."""
