"""How a representation is scored: features are extracted once, and everything reads the cached matrix."""
