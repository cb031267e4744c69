"""Layouts of datasets: one file each, all in the table of `lstcl_platform.video.sources`."""
