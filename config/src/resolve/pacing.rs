//! Do requests keep to the rate that an upstream tells? What `pacing` means.

use super::layers::Block;
use crate::defaults;
use crate::faults::Faults;
use crate::model::{Applied, Pacing, Setting};
use crate::raw;

/// Pacing: where a document writes the block.
pub(super) fn resolve(
    written: &raw::Upstream,
    defaults: Option<&raw::Defaults>,
    faults: &Faults<'_>,
) -> Setting<Option<Applied<Pacing>>> {
    let of_all = defaults.and_then(|d| d.pacing.as_ref());
    let block = Block::new(of_all, written.pacing.as_ref(), |b| b.mode);
    let pacing = Pacing { max_wait: block.layers().last(|b| b.max_wait, defaults::PACING_MAX_WAIT) };
    block.setting(block.is_written().then_some(pacing), faults)
}
