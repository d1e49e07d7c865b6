"""Patient-level differential privacy: one plan, one engine, one ledger, and the statement made from them."""
