//! How many requests may be in flight, and who may take the last places? What `adaptive` and `shares` mean.

use super::layers::{Layers, applied};
use crate::defaults;
use crate::faults::Faults;
use crate::model::priority::Shares;
use crate::model::{AdaptiveLimit, Applied};
use crate::raw::{self, Spanned};
use crate::scalars::Percent;

/// What an adaptive limit must stay below.
pub(super) struct Most {
    pub(super) requests: u32,
    /// As the document calls it.
    pub(super) key: &'static str,
}

impl<'a> Layers<'a, Spanned<raw::Adaptive>> {
    /// An adaptive limit: where its block is written.
    pub(super) fn adaptive(&self, most: &Most, faults: &mut Faults<'_>) -> Option<Applied<AdaptiveLimit>> {
        let block = self.own.or(self.defaults)?;
        let layers: Layers<'a, raw::Adaptive> =
            Layers { defaults: self.defaults.map(|b| &b.value), own: self.own.map(|b| &b.value) };
        let max = layers.last(|b| b.max, most.requests);
        let min = layers.last(|b| b.min, defaults::ADAPTIVE_MIN.min(max));
        if let Some(written) = layers.written(|b| b.max).filter(|_| max > most.requests) {
            let message = format!("`max` ({max}) is more than `{}` ({})", most.key, most.requests);
            faults.at(written.span, message);
        }
        if min > max {
            let span = layers.written(|b| b.min).map_or(block.span, |min| min.span);
            faults.at(span, format!("`min` ({min}) is more than `max` ({max})"));
        }
        let mode = layers.last(|b| b.mode, raw::Mode::Enforce);
        applied(mode, Some(AdaptiveLimit { min, max }))
    }
}

impl Layers<'_, raw::Shares> {
    /// How much of a limit each class may fill. What is worth less gets no more.
    pub(super) fn shares(&self, faults: &mut Faults<'_>) -> Shares {
        let default = self.last(|b| b.default, Shares::ALL.default);
        let shares = Shares { default, sheddable: self.last(|b| b.sheddable, default) };
        if let Some(written) = self.written(|b| b.sheddable.or(b.default))
            && shares.sheddable > shares.default
        {
            let [sheddable, default] = [shares.sheddable, shares.default].map(Percent::from_share);
            let message = format!("`sheddable` ({sheddable}) may fill more than `default` ({default})");
            faults.at_with(written.span, message, "sheddable requests are the first to go");
        }
        shares
    }
}
