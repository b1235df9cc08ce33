//! Which faults are injected on purpose? A rule's experiment, within the Sidecar's bounds.

use http::StatusCode;

use super::layers::applied;
use crate::defaults;
use crate::faults::{Faults, Span};
use crate::model::fault::{Experiment, FaultCaps, Kind};
use crate::model::{Applied, Direction, Mode};
use crate::raw::{self, Spanned, or};
use crate::scalars::NonZeroDuration;

/// The bounds on all of them.
pub(super) fn caps(sidecar: Option<&raw::Sidecar>) -> FaultCaps {
    let none = raw::FaultCaps::default();
    let written = sidecar.and_then(|sidecar| sidecar.faults.as_ref()).map_or(&none, |faults| &faults.value);
    FaultCaps {
        mode: applied(or(written.mode, raw::Mode::Enforce), Some(())).map(|on| on.mode),
        max_active: or(written.max_active, defaults::FAULTS_MAX_ACTIVE),
        max_duration: or(written.max_duration, defaults::FAULTS_MAX_DURATION),
    }
}

/// A rule's experiment; none when it or all of them are switched off.
pub(super) fn resolve(
    rule: &raw::Rule,
    direction: Direction,
    sidecar: Option<&raw::Sidecar>,
    faults: &mut Faults<'_>,
) -> Option<Applied<Experiment>> {
    let written = &rule.fault.as_ref()?.value;
    let caps = caps(sidecar);
    let inject = written.inject.as_ref()?;
    let injected = inject.value.iter().filter_map(|injection| one(injection, direction, faults)).collect();
    let duration = written.duration?;
    let experiment = Experiment {
        seed: or(written.seed, 0_u64),
        lasts: duration.value.into(),
        max_active: or(written.max_active, caps.max_active),
        faults: injected,
    };
    let help = "it is the bound in `faults` of the Sidecar";
    if experiment.lasts > caps.max_duration {
        let [lasts, most] = [experiment.lasts, caps.max_duration].map(NonZeroDuration::format);
        let message = format!("`duration` ({lasts}) is longer than `maxDuration` ({most})");
        faults.at_with(duration.span, message, help);
    }
    if let Some(active) = written.max_active.filter(|_| experiment.max_active > caps.max_active) {
        let (active_at_most, most) = (experiment.max_active, caps.max_active);
        let message = format!("`maxActive` ({active_at_most}) is more than the Sidecar's ({most})");
        faults.at_with(active.span, message, help);
    }
    let experiment = applied(or(written.mode, raw::Mode::Enforce), Some(experiment))?;
    let mode = if caps.mode? == Mode::DryRun { Mode::DryRun } else { experiment.mode };
    Some(Applied { mode, ..experiment })
}

/// One fault and its share.
fn one(
    Spanned { value: written, span }: &Spanned<raw::Injection>,
    direction: Direction,
    faults: &mut Faults<'_>,
) -> Option<(f64, Kind)> {
    let status = |code: u16| StatusCode::from_u16(code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let kinds = [
        ("delay", written.delay.map(|w| (w.span, Kind::Delay(w.value.into())))),
        ("abort", written.abort.map(|w| (w.span, Kind::Abort(status(w.value.into()))))),
        ("reset", written.reset.map(|w| (w.span, Kind::Reset))),
        ("partialBody", written.partial_body.map(|w| (w.span, Kind::PartialBody(w.value.into())))),
        ("throttle", written.throttle.map(|w| (w.span, Kind::Throttle(w.value.into())))),
        ("sever", written.sever.map(|w| (w.span, Kind::Sever))),
        ("hideEndpoints", written.hide_endpoints.map(|w| (w.span, Kind::Hide(w.value.into())))),
    ];
    let names = kinds.iter().map(|(key, _)| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    let mut kinds = kinds.into_iter().filter_map(|(key, kind)| kind.map(|(span, kind)| (key, span, kind)));
    let Some((first, at, kind)) = kinds.next() else {
        if written.whole {
            faults.at_with(*span, "the fault does nothing", format!("one of {names}"));
        }
        return None;
    };
    for (key, span, _) in kinds {
        let help = "each is an entry of its own with a share of its own";
        faults.at_with(span, format!("`{key}` and `{first}` exclude each other"), help);
    }
    let share = share(written, &kind, *span, faults)?;
    if direction == Direction::Inbound && matches!(kind, Kind::Hide(_)) {
        faults.at_with(
            at,
            "`hideEndpoints` in an inbound rule",
            "the application is one; `sever` refuses it",
        );
    }
    Some((share, kind))
}

fn share(written: &raw::Injection, kind: &Kind, span: Span, faults: &mut Faults<'_>) -> Option<f64> {
    match (written.percent, kind) {
        (None, Kind::Hide(_)) => Some(1.0),
        (Some(percent), Kind::Hide(_)) => {
            faults.at_with(
                percent.span,
                "`hideEndpoints` has no `percent`",
                "they are hidden from every attempt",
            );
            None
        }
        (Some(percent), _) if percent.value.share() <= 0.0 => {
            faults.at_with(percent.span, "no attempt would meet the fault", "`mode: off` says so");
            None
        }
        (Some(percent), _) => Some(percent.value.into()),
        (None, _) => {
            if written.whole {
                faults.at_with(span, "missing `percent`", "the share of attempts that meet the fault");
            }
            None
        }
    }
}
