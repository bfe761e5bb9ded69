"""Tasks whose data are drawn at random and whose answers are known, on which aggregations are compared."""
