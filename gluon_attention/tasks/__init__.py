"""What a network is trained for: groups of parameters, updates and scores."""
