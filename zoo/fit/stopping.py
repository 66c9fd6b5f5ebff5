"""Ending a run that is told to stop: by Ctrl-C, or by a scheduler's SIGTERM."""
