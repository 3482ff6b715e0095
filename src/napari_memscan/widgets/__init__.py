"""napari and Qt: the dock, its three steps, and the panes. Nothing outside imports this."""
