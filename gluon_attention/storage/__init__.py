"""Files on disk: whole or not there, and read without trust."""
