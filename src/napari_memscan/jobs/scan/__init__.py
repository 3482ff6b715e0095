"""From the volumes of a study to verdicts: embed, search, calibrate, decide."""
