"""Records grouped into boards, and what can be said of their differences."""
