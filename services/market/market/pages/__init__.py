"""Market for everyone: HTML pages."""
