"""The reader's page: a person reads an exam first, then sees what the model says, then agrees or not."""
