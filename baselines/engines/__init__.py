"""What several peers share."""
