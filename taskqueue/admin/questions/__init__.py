"""Questions that wait for an answer: list, and the page of one with its form."""
