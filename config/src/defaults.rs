//! Which value holds where nobody wrote one? Every default, one const each, with its reason.
