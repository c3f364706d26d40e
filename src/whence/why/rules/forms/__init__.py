"""What rules are written with: an operation run again, picked from, or taken plane by plane."""
