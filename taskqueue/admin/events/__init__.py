"""Events: list and page, and the form that sends one."""
