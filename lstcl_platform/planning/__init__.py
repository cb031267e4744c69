"""What a study will take, before it runs: predicted from measured rates, and replayed on a described cluster."""
