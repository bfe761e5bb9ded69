"""The page that a run ends with: one HTML file that explains itself and asks nothing of the network."""

from pipelines.report.page import write_report

__all__ = ["write_report"]
