"""Why a model answers as it does: what its layers see, and what hiding a place costs."""
