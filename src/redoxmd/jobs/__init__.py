"""What every job of the workflow does: logs, restart files, interruption, progress, memory."""
