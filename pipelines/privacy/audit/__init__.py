"""Audits: lower bounds on what a release or a training really gives away. They refute a claim; they never prove one."""
