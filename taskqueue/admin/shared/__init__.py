"""Helpers of several admin pages: HTML, charts, filters, forms, base classes."""
