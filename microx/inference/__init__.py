"""A trained model on new videos, and in the formats of other programs."""
