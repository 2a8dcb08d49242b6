"""Records on disk, and everything that is kept beside them."""
