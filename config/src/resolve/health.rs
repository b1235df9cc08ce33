//! How are endpoints checked, and when is one left alone? What `healthCheck` and `outlierDetection` mean.

use super::layers::{Block, Layers};
use crate::defaults;
use crate::faults::Faults;
use crate::model::{ActiveCheck, Applied, HealthCheck, Probe, Setting};
use crate::raw::{self, Spanned};

/// Active checks. `Defaults` may say how often and leave it to each upstream what is asked.
pub(super) fn checks(
    own: Option<&Spanned<raw::HealthCheck>>,
    defaults: Option<&raw::Defaults>,
    faults: &mut Faults<'_>,
) -> Setting<Option<Applied<ActiveCheck>>> {
    let block = Block::new(defaults.and_then(|d| d.health_check.as_ref()), own, |b| b.mode);
    let layers = block.layers();
    for layer in [layers.defaults, layers.own].into_iter().flatten() {
        one_probe(layer, faults);
    }
    let probe = layers.own.and_then(asked).or_else(|| layers.defaults.and_then(asked));
    if let (Some(own), None) = (block.own, &probe)
        && own.value.whole
        && !block.is_off()
    {
        let help = "write what is asked of an endpoint, such as `http: /ping`";
        faults.at_with(own.span, "missing `http`, `tcp` or `grpc`", help);
    }
    let check = probe.map(|probe| ActiveCheck {
        probe: with_readiness(probe, &layers, faults),
        timeout: layers.last(|b| b.timeout, defaults::HEALTH_TIMEOUT),
        thresholds: HealthCheck {
            interval: layers.last(|b| b.interval, defaults::HEALTH_INTERVAL),
            unhealthy_after: layers.last(|b| b.unhealthy_after, defaults::UNHEALTHY_AFTER),
            healthy_after: layers.last(|b| b.healthy_after, defaults::HEALTHY_AFTER),
        },
    });
    block.setting(check, faults)
}

/// What one document asks, without its readiness.
fn asked(written: &raw::HealthCheck) -> Option<Probe> {
    let http = written.http.as_ref().map(|path| Probe::Http { path: path.value.0.clone(), readiness: None });
    let tcp = written.tcp.map(|_| Probe::Tcp { readiness: None });
    let grpc = written.grpc.as_ref().map(|name| Probe::Grpc { service: name.value.0.clone() });
    http.or(tcp).or(grpc)
}

fn one_probe(written: &raw::HealthCheck, faults: &mut Faults<'_>) {
    let probes = [
        ("http", written.http.as_ref().map(|w| w.span)),
        ("tcp", written.tcp.map(|w| w.span)),
        ("grpc", written.grpc.as_ref().map(|w| w.span)),
    ];
    let mut probes = probes.into_iter().filter_map(|(key, span)| Some((key, span?)));
    let Some((first, _)) = probes.next() else { return };
    for (key, span) in probes {
        faults.at(span, format!("`{key}` and `{first}` exclude each other"));
    }
}

fn with_readiness(probe: Probe, layers: &Layers<'_, raw::HealthCheck>, faults: &mut Faults<'_>) -> Probe {
    let path = layers.written(|b| b.readiness.as_ref());
    let readiness = path.map(|path| path.value.0.clone());
    match probe {
        Probe::Http { path, .. } => Probe::Http { path, readiness },
        Probe::Tcp { .. } => Probe::Tcp { readiness },
        Probe::Grpc { service } => {
            let same = [layers.own, layers.defaults].into_iter().flatten().find(|b| b.grpc.is_some());
            if let Some(readiness) = same.and_then(|b| b.readiness.as_ref()) {
                let help = "the answer `NOT_SERVING` says that it is alive and not ready";
                faults.at_with(readiness.span, "`grpc` has no `readiness`", help);
            }
            Probe::Grpc { service }
        }
    }
}
