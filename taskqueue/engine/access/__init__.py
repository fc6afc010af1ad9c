"""What a caller may do with a pipeline (`permissions`), and which values a viewer may see (`redaction`)."""
