"""Evaluation: labelled rows in, every one judged along the one road, figures and a page out."""

from railscribe.evaluation.judging import judge
from railscribe.evaluation.rows import EvalRow, read_rows
from railscribe.evaluation.summary import score_lines, summary

__all__ = ["EvalRow", "judge", "read_rows", "score_lines", "summary"]
