"""napari and Qt: the dock, its four steps, and the panes. Nothing outside imports this."""
