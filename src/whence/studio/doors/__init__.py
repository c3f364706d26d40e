"""Who may talk to the studio, and how a page gets in."""
