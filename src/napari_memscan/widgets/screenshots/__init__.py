"""Pictures of the window for documents and checks."""
