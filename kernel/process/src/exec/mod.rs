//! Program execution.
