"""What a person types: commands, tables, progress and error messages."""
