"""Pictures of what a network attends to."""
