//! What may a document say of faults that are injected on purpose?

use super::declare::mapping;
use super::resilience::{Mode, True};
use super::types::{Bytes, List, Whole};
use crate::scalars::{NonZeroDuration, Percent};

mapping! {
    /// Faults injected into a rule's attempts, below retries and breakers, so that these meet them.
    Fault {
        /// Whether it acts.
        "mode" => mode: Mode;
        /// Makes the choice of victims repeatable; 0 unless written.
        "seed" => seed: Whole<0, { u64::MAX }>;
        /// How long it goes on, from when the policy is loaded.
        "duration" => duration: NonZeroDuration, required;
        /// The most faults at work at a time; as in the Sidecar's `faults` unless written.
        "maxActive" => max_active: Whole<1, 1_000_000>;
        /// What happens to which share of the attempts.
        "inject" => inject: List<Injection>, required;
    }
}

mapping! {
    /// One fault.
    Injection {
        /// Share of the attempts; of every fault but `hideEndpoints`.
        "percent" => percent: Percent;
        /// Holds the attempt up for so long.
        "delay" => delay: NonZeroDuration;
        /// Answers with this status instead of the upstream.
        "abort" => abort: Whole<400, 599>;
        /// Resets the connection in place of an answer.
        "reset" => reset: True;
        /// Lets so much of the body through, then breaks off.
        "partialBody" => partial_body: Bytes<0, { 1 << 30 }>;
        /// Lets so much of the body through in a second.
        "throttle" => throttle: Bytes<1, { 1 << 30 }>;
        /// Refuses to connect.
        "sever" => sever: True;
        /// Takes so many endpoints out of sight.
        "hideEndpoints" => hide_endpoints: Whole<1, 10_000>;
    }
}

mapping! {
    /// Bounds on all injected faults together, and the one switch that ends them: `mode: off`.
    FaultCaps {
        /// Whether rules' faults act.
        "mode" => mode: Mode;
        /// The most faults at work at a time, of all rules.
        "maxActive" => max_active: Whole<1, 1_000_000>;
        /// No rule's faults go on for longer.
        "maxDuration" => max_duration: NonZeroDuration;
    }
}
