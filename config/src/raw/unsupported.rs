//! Which words of the policy language does this version not act on? They are refused by name, never ignored.

/// Keys.
pub(crate) const KEYS: &[&str] = &[
    "<<",
    "cache",
    "cohort",
    "fallback",
    "fault",
    "filters",
    "handshakeTimeout",
    "identity",
    "mirror",
    "mode",
    "plaintextPaths",
    "priority",
    "slo",
    "slowStart",
    "telemetry",
    "tls",
    "waitForApp",
];

/// Values.
pub(crate) const WORDS: &[&str] = &["allow", "auto", "detect", "redirect", "ring-hash", "tcp"];

/// Kinds of documents.
pub(crate) const KINDS: &[&str] = &[
    "AuthorizationPolicy",
    "Experiment",
    "GRPCRoute",
    "PolicyTest",
    "RateLimitPolicy",
    "Rollout",
    "TCPRoute",
    "TLSRoute",
];

/// What to say of one.
pub(crate) fn message(word: &str) -> String {
    format!("`{word}` is not supported by this version")
}
