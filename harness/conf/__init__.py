"""Tables and configuration files."""
