"""The paper's tables and other measurements of the method."""
