"""Lets ``python -m microx`` do what the command ``microx`` does."""

from microx.cli import main

if __name__ == "__main__":
    main()
