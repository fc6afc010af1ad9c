"""Webhooks: which addresses may be called, how a request is signed, and how it is sent. No database, no Django."""
