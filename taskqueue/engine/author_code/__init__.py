"""Author code in the worker's process: its timeouts, its logs, and what it leaves behind."""
