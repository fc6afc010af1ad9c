"""An event is sent, and routed to the pipelines and waits that listen for its name."""
