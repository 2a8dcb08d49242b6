"""One trial: checked, run stage by stage, evaluated."""
