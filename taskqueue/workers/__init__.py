"""The name under which settings know the broker of the pool."""
