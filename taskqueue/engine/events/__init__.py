"""Events: sent in a transaction, then routed to the waits and pipelines that listen for their name."""
