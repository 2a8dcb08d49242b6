"""What is asked of a trial and what came out: specification, widths, identity, record."""
