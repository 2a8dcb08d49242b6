"""Full-precision networks: loading them, and what is known of those in the papers."""
