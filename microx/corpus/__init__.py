"""A folder of region crops with its manifest: built from videos, read, checked, looked at."""
