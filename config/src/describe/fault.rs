//! Which faults are injected on purpose? Experiments in the words of the schema.

use serde_json::{Value, json};

use super::resilience::{applied, mode};
use crate::model::Applied;
use crate::model::fault::{Experiment, FaultCaps, Kind};
use crate::raw::{Mode, Words};
use crate::scalars::{NonZeroDuration, Percent, Size};

pub(super) fn caps(caps: &FaultCaps) -> Value {
    json!({
        "mode": caps.mode.map_or(Mode::Off.word(), mode),
        "maxActive": caps.max_active,
        "maxDuration": NonZeroDuration::format(caps.max_duration),
    })
}

pub(super) fn experiment(experiment: &Applied<Experiment>) -> Value {
    applied(Some(experiment), |experiment| {
        json!({
            "seed": experiment.seed,
            "duration": NonZeroDuration::format(experiment.lasts),
            "maxActive": experiment.max_active,
            "inject": experiment.faults.iter().map(injection).collect::<Vec<_>>(),
        })
    })
}

fn injection((share, kind): &(f64, Kind)) -> Value {
    let size = |bytes| json!(Size::from_bytes(bytes).to_string());
    let (key, what) = match *kind {
        Kind::Delay(delay) => ("delay", json!(NonZeroDuration::format(delay))),
        Kind::Abort(status) => ("abort", json!(status.as_u16())),
        Kind::Reset => ("reset", json!(true)),
        Kind::PartialBody(bytes) => ("partialBody", size(bytes)),
        Kind::Throttle(bytes) => ("throttle", size(bytes)),
        Kind::Sever => ("sever", json!(true)),
        Kind::Hide(endpoints) => return json!({ "hideEndpoints": endpoints }),
    };
    Value::from_iter([("percent", json!(Percent::from_share(*share).to_string())), (key, what)])
}
