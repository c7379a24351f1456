"""Models that come with the package: the teacher and the student of the quickstart."""
