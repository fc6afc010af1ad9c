"""What several pages use: HTML, charts, forms, filters."""
