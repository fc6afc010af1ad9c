"""Forms made of JSON schemas: of a payload in the admin, and of an answer in the admin or behind a link."""
