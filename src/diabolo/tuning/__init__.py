"""Tuning: which settings a search tries, and the ledger of its trials."""
