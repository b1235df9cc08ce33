//! What keeps an upstream's faults from spreading? Each block with its mode and its origin.

use serde_json::{Value, json};

use super::setting;
use crate::model::{ActiveCheck, Applied, CircuitBreakers, Mode, OutlierDetection, Pacing, Probe, Setting};
use crate::raw::{self, Words};
use crate::scalars::{NonZeroDuration, Percent};

pub(super) fn health_check(check: &Setting<Option<Applied<ActiveCheck>>>) -> Value {
    block(check, |check| {
        let (key, asked, readiness) = match &check.probe {
            Probe::Http { path, readiness } => ("http", json!(path), readiness.as_ref()),
            Probe::Tcp { readiness } => ("tcp", json!(true), readiness.as_ref()),
            Probe::Grpc { service } => ("grpc", json!(service), None),
        };
        let thresholds = &check.thresholds;
        let mut described = json!({
            "readiness": readiness,
            "interval": NonZeroDuration::format(thresholds.interval),
            "timeout": NonZeroDuration::format(check.timeout),
            "unhealthyAfter": thresholds.unhealthy_after,
            "healthyAfter": thresholds.healthy_after,
        });
        described[key] = asked;
        described
    })
}

pub(super) fn outlier_detection(outliers: &Setting<Option<Applied<OutlierDetection>>>) -> Value {
    block(outliers, |outliers| {
        json!({
            "consecutiveFailures": outliers.consecutive_failures,
            "baseEjectionTime": NonZeroDuration::format(outliers.base_ejection_time),
            "maxEjectionTime": NonZeroDuration::format(outliers.max_ejection_time),
            "maxEjectionPercent": Percent::from_share(outliers.max_ejection_percent).to_string(),
        })
    })
}

pub(super) fn circuit_breaker(breakers: &Setting<Option<Applied<CircuitBreakers>>>) -> Value {
    block(breakers, |CircuitBreakers { scope, thresholds }| {
        let [base, max] = [thresholds.backoff.base, thresholds.backoff.max].map(NonZeroDuration::format);
        let mut described = json!({
            "scope": scope.word(),
            "consecutive": thresholds.consecutive,
            "slowCallDuration": thresholds.slow_call_duration.map(NonZeroDuration::format),
            "trialRequests": thresholds.trial_requests,
            "backoff": { "base": base, "max": max },
        });
        if let Some(rate) = thresholds.failure_rate {
            described["failureRate"] = json!(Percent::from_share(rate).to_string());
            described["window"] = json!(NonZeroDuration::format(thresholds.window));
            described["minRequests"] = json!(thresholds.min_requests);
        }
        described
    })
}

pub(super) fn pacing(pacing: &Setting<Option<Applied<Pacing>>>) -> Value {
    block(pacing, |pacing| json!({ "maxWait": NonZeroDuration::format(pacing.max_wait) }))
}

/// A block with its mode, and who was the last to say something in it.
pub(super) fn block<T>(setting: &Setting<Option<Applied<T>>>, describe: impl Fn(&T) -> Value) -> Value {
    self::setting(setting, applied(setting.as_ref(), describe))
}

/// A policy with its mode.
pub(super) fn applied<T>(policy: Option<&Applied<T>>, describe: impl Fn(&T) -> Value) -> Value {
    let Some(applied) = policy else { return json!({ "mode": raw::Mode::Off.word() }) };
    let mut described = describe(&applied.policy);
    described["mode"] = json!(mode(applied.mode));
    described
}

/// A mode as it is written.
pub(super) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => raw::Mode::Enforce.word(),
        Mode::DryRun => raw::Mode::DryRun.word(),
    }
}
