"""The painter: a page in the browser where a mask is painted and becomes a landscape."""
