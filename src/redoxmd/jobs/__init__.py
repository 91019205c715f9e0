"""Services for every job of the workflow: logs, restart files, interruption, progress, memory."""
