"""What can be logged besides numbers and text, one type per file."""
