"""Lets ``python -m microx`` do what the command ``microx`` does."""

from microx.cli.main import main

if __name__ == "__main__":
    main()
