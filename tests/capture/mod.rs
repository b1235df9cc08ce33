//! What becomes of connections whose caller knows nothing of us? Whole hosts with real rules, and programs that everybody
//! has.

mod loops;
mod named;
mod own;
mod rules;
mod scene;
mod servers;

/// Whom the client's side knows beside itself: the other host, by its addresses and by virtual ones.
const HOLDINGS: &str = "---
apiVersion: outrigger/v1
kind: Upstream
name: holdings
addresses: [\"10.96.0.7:8080\", \"[fd96::7]:8080\"]
discovery: {static: [\"10.77.0.2:8080\", \"[fd77::2]:8080\"]}
tls: {mode: mutual, peerIdentities: [\"spiffe://tests/holdings\"]}
";
