"""Pictures of what a network attended to."""
