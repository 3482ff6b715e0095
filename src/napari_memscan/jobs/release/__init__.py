"""What may be handed out, and handing it out with the evidence."""
