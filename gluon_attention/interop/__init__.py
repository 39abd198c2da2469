"""Weights of other sources: PyTorch, GluonCV, torchvision, Paddle."""
