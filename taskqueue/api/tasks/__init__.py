"""Tasks in the API: submit, list and get them, wait for their end, act on them."""
