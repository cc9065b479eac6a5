"""The planner's side: what it may call, how claims are confirmed, and the planners themselves."""
