"""Programs for developers and for the Makefile; not part of what runs."""
