"""Why a model predicts as it does: what its layers see, and what occluding a place costs."""
