"""What goes into papers: comparisons, figures, tables, provenance."""

from meanfluid.reporting.compare import compare as compare
