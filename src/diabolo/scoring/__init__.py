"""The scores of a representation, beside its references."""
