"""The report: one HTML file that says what was asked, what ran, what came out, and how to do it again."""
