"""What every room needs and none is about: errors, files, plain text, progress, hardware, options."""
