"""Number formats: how real values become codes and back."""
