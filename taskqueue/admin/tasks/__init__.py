"""The list of tasks: columns, filters, tabs, bulk actions, export."""
