"""What one learns by: the lectures' failures, each a run of seconds."""
