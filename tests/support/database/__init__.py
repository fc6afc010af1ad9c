"""Fill the tests' database, read query plans, and run concurrent transactions."""
