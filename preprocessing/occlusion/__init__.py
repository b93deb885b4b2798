"""Masks, sunglasses, hands and scarves drawn over a face, frame after frame."""
