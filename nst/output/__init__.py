"""From steps to files: results with their recipe, and films."""
