"""Test predictions and what they are worth: metrics, intervals, tests, tables."""
