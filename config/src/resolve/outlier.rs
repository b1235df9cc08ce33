//! When is an endpoint left alone for what it did to requests? What `outlierDetection` means.

use super::layers::Block;
use crate::defaults;
use crate::faults::Faults;
use crate::model::{Applied, OutlierDetection, Setting};
use crate::raw;
use crate::scalars::NonZeroDuration;

/// Ejection: on unless it is switched off.
pub(super) fn resolve(
    written: &raw::Upstream,
    defaults: Option<&raw::Defaults>,
    faults: &mut Faults<'_>,
) -> Setting<Option<Applied<OutlierDetection>>> {
    let block = Block::new(
        defaults.and_then(|d| d.outlier_detection.as_ref()),
        written.outlier_detection.as_ref(),
        |b| b.mode,
    );
    let layers = block.layers();
    let outliers = OutlierDetection {
        consecutive_failures: layers.last(|b| b.consecutive_failures, defaults::CONSECUTIVE_FAILURES),
        base_ejection_time: layers.last(|b| b.base_ejection_time, defaults::BASE_EJECTION_TIME),
        max_ejection_time: layers.last(|b| b.max_ejection_time, defaults::MAX_EJECTION_TIME),
        max_ejection_percent: layers.last(|b| b.max_ejection_percent, defaults::MAX_EJECTION_PERCENT),
    };
    if let Some(percent) = layers.written(|b| b.max_ejection_percent) {
        if outliers.max_ejection_percent >= 1.0 {
            let help = "one endpoint at least always stays; the most that can be said is below `100%`";
            faults.at_with(percent.span, "`maxEjectionPercent` would let everyone be ejected", help);
        } else if outliers.max_ejection_percent <= 0.0 {
            let help = "`mode: off` says so";
            faults.at_with(percent.span, "`maxEjectionPercent` would let nobody be ejected", help);
        }
    }
    if let Some(time) = layers.written(|b| b.max_ejection_time.or(b.base_ejection_time))
        && outliers.base_ejection_time > outliers.max_ejection_time
    {
        let times = [outliers.base_ejection_time, outliers.max_ejection_time];
        let [base, max] = times.map(NonZeroDuration::format);
        faults.at(time.span, format!("`baseEjectionTime` ({base}) is longer than `maxEjectionTime` ({max})"));
    }
    block.setting(Some(outliers), faults)
}
