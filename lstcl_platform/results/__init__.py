"""What came of it: compared cells, tables, figures, progress."""
