"""The command line: parsing, printing, and nothing else."""
