"""The hospital's side: it trains on its own patients, charges its own ledger and decides what leaves."""
