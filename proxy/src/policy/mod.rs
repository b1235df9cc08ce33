//! What is decided about a request? Every decision, as a pure value.
//!
//! Nothing here waits, locks, counts, or looks at a clock: time comes in as an argument and so does chance, what
//! happened goes out as a value, and the caller acts on it. So each decision can be tested by property, in virtual
//! time, and costs no more than its arithmetic.

pub mod authz;
pub mod backoff;
pub mod balancer;
pub mod breaker;
pub mod budget;
pub mod cacheable;
pub mod concurrency;
pub mod deadline;
pub mod fair_share;
pub mod fault;
pub mod grpc;
pub mod hash;
pub mod health;
pub mod in_flight;
pub mod key_table;
pub mod lease;
pub mod locality;
pub mod outcome;
pub mod outlier;
pub mod pacing;
pub mod panic;
pub mod path;
pub mod patience;
pub mod penalty;
pub mod priority;
pub mod rate_limit;
pub mod retry;
pub mod ring;
pub mod router;
pub mod settled;
pub mod share;
pub mod slow_start;
pub mod tcp_router;
pub mod weights;
