"""From a media payload to a file: kept where SIGKILL cannot reach, encoded elsewhere, named by its content."""
