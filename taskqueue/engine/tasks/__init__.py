"""What changes a task from outside of its execution: retry, cancel, suspend, children, completion."""
