"""Spotting: when in a video an expression begins, peaks and ends, and how well that is found."""
