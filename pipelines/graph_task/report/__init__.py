"""The page that a run on a dynamic graph ends with, of the same make as that of series."""

from pipelines.graph_task.report.page import write_report

__all__ = ["write_report"]
