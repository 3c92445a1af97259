"""The paper's questions Q1 to Q3, and some beyond it, answered from a data set: needs the extra `analysis`."""

from dynamic_sparsity.analysis.bodies import BodyGraph, body_graph
from dynamic_sparsity.analysis.changes import ChangeTable, pattern_changes
from dynamic_sparsity.analysis.comparison import Comparison, compare
from dynamic_sparsity.analysis.embedding import Embedding, embed
from dynamic_sparsity.analysis.horizons import Horizon, multi_step_zeros
from dynamic_sparsity.analysis.patterns import Pattern, PatternTable, describe_patterns, pattern_table
from dynamic_sparsity.analysis.runs import RunLengths, run_lengths
from dynamic_sparsity.analysis.sparsity import SparsityDistribution, sparsity_distribution
from dynamic_sparsity.analysis.spectrum import Spectrum, spectra
from dynamic_sparsity.analysis.study import Study, StudyOptions, study_store
from dynamic_sparsity.analysis.thresholds import Sensitivity, threshold_sensitivity
from dynamic_sparsity.analysis.timeline import Timeline, read_timeline
from dynamic_sparsity.analysis.touching import ContactSet, contact_sets
from dynamic_sparsity.analysis.zeros import GlobalZeros, global_zeros

__all__ = [
    "BodyGraph",
    "ChangeTable",
    "Comparison",
    "ContactSet",
    "Embedding",
    "GlobalZeros",
    "Horizon",
    "Pattern",
    "PatternTable",
    "RunLengths",
    "Sensitivity",
    "SparsityDistribution",
    "Spectrum",
    "Study",
    "StudyOptions",
    "Timeline",
    "body_graph",
    "compare",
    "contact_sets",
    "describe_patterns",
    "embed",
    "global_zeros",
    "multi_step_zeros",
    "pattern_changes",
    "pattern_table",
    "read_timeline",
    "run_lengths",
    "sparsity_distribution",
    "spectra",
    "study_store",
    "threshold_sensitivity",
]
