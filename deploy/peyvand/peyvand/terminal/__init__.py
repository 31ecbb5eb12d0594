"""What the command line prints: tables, progress bars, checklists."""
