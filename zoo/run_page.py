"""One HTML page of a run: curves, scores and panels, readable without an account or a network."""
