"""The list of tasks: filters, columns, tabs, activity histogram, bulk actions and export."""
