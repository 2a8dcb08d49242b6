"""Boards as tables, pictures and a page."""
