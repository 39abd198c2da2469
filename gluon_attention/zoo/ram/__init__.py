"""RAM, Recurrent Models of Visual Attention."""
