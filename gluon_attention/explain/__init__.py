"""Pictures and pages of what a network attends to."""
