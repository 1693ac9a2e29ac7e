"""What milepost captures by itself: what ran, the ranks of a job, system metrics, console output; and what it hides."""
