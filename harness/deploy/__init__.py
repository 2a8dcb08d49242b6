"""A finished trial as a file that a runtime computes with integers: export, gate, sessions of the runtimes."""
