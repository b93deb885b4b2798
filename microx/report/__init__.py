"""One HTML page of runs that can be trusted, and the tables and figures in it."""
