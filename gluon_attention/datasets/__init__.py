"""One function per data set: batches for training, validation and test."""
