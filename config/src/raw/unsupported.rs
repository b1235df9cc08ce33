//! Which words of the policy language does this version not act on? They are refused by name, never ignored.

/// Keys.
pub(crate) const KEYS: &[&str] = &["<<", "cohort", "filters", "mirror", "slo", "telemetry", "waitForApp"];

/// Values.
pub(crate) const WORDS: &[&str] = &["detect"];

/// Kinds of documents.
pub(crate) const KINDS: &[&str] = &["Experiment", "GRPCRoute", "PolicyTest", "Rollout", "TLSRoute"];

/// What to say of one.
pub(crate) fn message(word: &str) -> String {
    format!("`{word}` is not supported by this version")
}
