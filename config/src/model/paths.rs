//! How are paths read that two readers may read differently? What a listener refuses of them, where a rule looks at paths.

/// Whether a way of writing is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Oddity {
    /// 400.
    #[default]
    Refuse,
    /// It is passed on as it came; rules see what the most lenient reader would.
    Keep,
}

/// What a listener does with paths that are well-formed and still ambiguous. It matters only where a rule looks at paths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Paths {
    /// `%2F`; kept, it is a slash to rules.
    pub escaped_slashes: Oddity,
    /// `//`; kept, it is one slash to rules.
    pub empty_segments: Oddity,
    /// `;` and what follows it in a segment; kept, it is not there to rules.
    pub parameters: Oddity,
}
