"""RA-CNN, Look Closer to See Better."""
