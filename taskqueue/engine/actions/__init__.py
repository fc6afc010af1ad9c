"""What people and programs ask for, each with its audit entry in one transaction."""
