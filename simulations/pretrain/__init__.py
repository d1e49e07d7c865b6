"""Public pretraining: a checkpoint, and the public basis of a private model, made from public images only."""
