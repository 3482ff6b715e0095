"""Tables, figures, and one HTML page that opens anywhere."""
