//! Which document has the last word on a block? Built-in < `Defaults` < the document itself, value by value.

use crate::faults::{Faults, Span};
use crate::model::{Applied, Mode, Origin, Setting};
use crate::raw::{self, Spanned, or};

/// The same block in `Defaults` and in the document for which they hold.
pub(super) struct Layers<'a, B> {
    pub(super) defaults: Option<&'a B>,
    pub(super) own: Option<&'a B>,
}

impl<'a, B> Layers<'a, B> {
    /// Who has the last word, if anybody wrote something.
    pub(super) fn written<W>(&self, written: impl Fn(&'a B) -> Option<W>) -> Option<W> {
        self.own.and_then(&written).or_else(|| self.defaults.and_then(&written))
    }

    /// Who has the last word.
    pub(super) fn last<W: Into<T>, T>(
        &self,
        written: impl Fn(&'a B) -> Option<Spanned<W>>,
        built_in: T,
    ) -> T {
        or(self.written(written), built_in)
    }
}

/// A block of an `Upstream` that has a `mode`, in both documents that may say something in it.
pub(super) struct Block<'a, B> {
    defaults: Option<&'a Spanned<B>>,
    /// In the upstream's own document.
    pub(super) own: Option<&'a Spanned<B>>,
    mode: raw::Mode,
}

impl<'a, B> Block<'a, B> {
    pub(super) fn new(
        defaults: Option<&'a Spanned<B>>,
        own: Option<&'a Spanned<B>>,
        mode: impl Fn(&'a B) -> Option<Spanned<raw::Mode>>,
    ) -> Self {
        let block = Self { defaults, own, mode: raw::Mode::Enforce };
        let mode = block.layers().last(mode, raw::Mode::Enforce);
        Self { mode, ..block }
    }

    /// Its values.
    pub(super) fn layers(&self) -> Layers<'a, B> {
        Layers { defaults: self.defaults.map(|block| &block.value), own: self.own.map(|block| &block.value) }
    }

    /// Whether it was switched off.
    pub(super) fn is_off(&self) -> bool {
        self.mode == raw::Mode::Off
    }

    /// Whether anybody says anything in it.
    pub(super) fn is_written(&self) -> bool {
        self.own.is_some() || self.defaults.is_some()
    }

    /// What holds, and who was the last to say something in it.
    pub(super) fn setting<T>(&self, policy: Option<T>, faults: &Faults<'_>) -> Setting<Option<Applied<T>>> {
        let [own, defaults] = [self.own, self.defaults].map(|block| block.map(|block| block.span));
        Setting { value: applied(self.mode, policy), origin: origin(own, defaults, faults) }
    }
}

/// Who was the last to say something in a block of an `Upstream`.
pub(super) fn origin(own: Option<Span>, defaults: Option<Span>, faults: &Faults<'_>) -> Origin {
    match (own, defaults) {
        (Some(span), _) => Origin::Upstream(faults.locate(span)),
        (None, Some(span)) => Origin::Defaults(faults.locate(span)),
        (None, None) => Origin::BuiltIn,
    }
}

/// A policy in its mode; one that is `off` is none.
pub(super) fn applied<T>(mode: raw::Mode, policy: Option<T>) -> Option<Applied<T>> {
    let mode = match mode {
        raw::Mode::Enforce => Mode::Enforce,
        raw::Mode::DryRun => Mode::DryRun,
        raw::Mode::Off => return None,
    };
    Some(Applied { mode, policy: policy? })
}
