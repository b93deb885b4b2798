"""How drawn actors look and act; `microx.synthetic` films them."""
