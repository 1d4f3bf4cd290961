"""What each notebook measures, and how it is drawn."""
