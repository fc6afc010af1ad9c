"""What the address and the search box of a list ask for."""
