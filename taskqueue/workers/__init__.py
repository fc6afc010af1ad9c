"""The former name of the package with the django-q2 broker, which existing settings may contain."""
