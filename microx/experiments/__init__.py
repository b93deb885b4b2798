"""Many evaluations as one run: ablations, leaks, the papers done again, published numbers."""
