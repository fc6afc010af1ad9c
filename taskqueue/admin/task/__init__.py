"""The page of one task: its steps, its actions, its forms and its downloads."""
