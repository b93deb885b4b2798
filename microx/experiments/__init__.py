"""Many evaluations as one run: ablations, leaks, papers reproduced, published numbers."""
