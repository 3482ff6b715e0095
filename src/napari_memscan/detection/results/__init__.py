"""What a scan found, in a form that is kept on disk and printed."""
