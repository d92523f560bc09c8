"""Exercises of the book: one notebook per chapter, and what checks the answers."""
