"""An app that sends spans to a file, as a project's own set-up sends them to its collector."""
