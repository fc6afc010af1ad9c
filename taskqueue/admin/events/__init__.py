"""The list of events, and sending one."""
