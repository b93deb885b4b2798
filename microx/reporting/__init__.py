"""What a report is put together from; `microx.report` writes it."""
