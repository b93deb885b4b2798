"""Drawn actors whose emotions and landmarks are known, and a corpus of them."""
