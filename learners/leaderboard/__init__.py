"""Many results as pages, tables and the paper's Figure 8."""
