"""The main job as Prefect shows it, on a real server."""
