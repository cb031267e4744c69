"""`schema` and `plan`: what a spec may say, and what a launch of it would do."""


def schema() -> None:
    """Print the JSON Schema of an experiment file, for completion in an editor."""
