"""The version of microx, for those of its own modules that write it down."""

VERSION = "0.1.0"
