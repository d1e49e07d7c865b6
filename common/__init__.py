"""The shared core of OncoFed: data, models, privacy, training, aggregation, evaluation and reports."""
