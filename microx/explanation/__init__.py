"""How a model is taken apart to see why it answers as it does; `microx.explain` draws it."""
