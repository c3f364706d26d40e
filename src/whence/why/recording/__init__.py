"""Recording a step: every operation by its native kernel, kept with its numbers and names."""
