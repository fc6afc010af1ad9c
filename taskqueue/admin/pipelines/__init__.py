"""The list of pipelines and their pages; submitting a task, pausing, changing limits."""
