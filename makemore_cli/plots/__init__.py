"""Pictures of a run: each a class that holds the arrays it draws."""
