"""What can be done about copies, and what it brings and costs."""
