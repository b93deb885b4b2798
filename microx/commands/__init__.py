"""The commands of `microx`, by what they are about; `microx.cli` joins them."""
